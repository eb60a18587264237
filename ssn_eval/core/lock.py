"""One run at a time where two would overwrite each other: a lock beside the folder or file that a run works on.

The lock is the operating system's (flock, or its Windows twin), so it goes when its process goes, also after kill -9. Its
file, `.<name>.lock`, says who holds it and is removed at the end.
"""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ssn_eval.core.errors import SsnError


class BusyError(SsnError):
    """Another run works in the same place."""


def path_of(target: Path) -> Path:
    """The lock's file: beside the target, since the target itself is removed or replaced by its run."""
    return target.with_name(f".{target.name.removeprefix('.')}.lock")


@contextmanager
def hold(target: Path, what: str) -> Iterator[None]:
    """Keep other runs away from `target` while the body runs; a second one is refused at once and does not wait.

    Args:
        target: the folder or file that the run works on; need not exist.
        what: the run, for the message, for example `"identification"`.

    Raises:
        BusyError: another process holds it; says which.
    """
    from filelock import FileLock, Timeout

    path = path_of(target)
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise BusyError(
            f"{target.as_posix()} is in use by another {what} ({_holder(path)}); wait for it, stop it, or choose another "
            f"place for this run."
        ) from None
    try:
        with suppress(OSError):  # Windows lets nobody write a locked file
            mine = {"process": os.getpid(), "host": platform.node(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
            path.write_text(json.dumps(mine), encoding="utf-8")
        yield
    finally:
        with suppress(OSError):
            path.unlink()  # while it is held: a newcomer makes a new one
        lock.release()


def _holder(path: Path) -> str:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return f"process {int(found['process'])} on {str(found['host'])[:60]} since {str(found['since'])[:19]}"
    except (OSError, ValueError, TypeError, KeyError):
        return "its process is not known"
