"""A lock beside a folder or file, so that two runs do not overwrite each other.

The operating system holds the lock (flock, or its Windows counterpart) and releases it when the process ends, also after
kill -9. The file `.<name>.lock` names the process that holds the lock and is removed at the end.
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
    """Another run uses the same folder or file."""


def path_of(target: Path) -> Path:
    """The path of the lock file. It lies beside the target, because a run may remove or replace the target."""
    return target.with_name(f".{target.name.removeprefix('.')}.lock")


@contextmanager
def hold(target: Path, what: str) -> Iterator[None]:
    """Lock `target` while the body runs; a second run fails at once and does not wait.

    Args:
        target: the folder or file that the run works on; it need not exist.
        what: the run, for the message, for example `"identification"`.

    Raises:
        BusyError: another process holds the lock; the message names it.
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
        with suppress(OSError):  # Windows does not allow writing to a locked file
            holder = {"process": os.getpid(), "host": platform.node(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
            path.write_text(json.dumps(holder), encoding="utf-8")
        yield
    finally:
        with suppress(OSError):
            path.unlink()  # before the release, so that the next run creates a new file
        lock.release()


def _holder(path: Path) -> str:
    try:
        holder = json.loads(path.read_text(encoding="utf-8"))
        return f"process {int(holder['process'])} on {str(holder['host'])[:60]} since {str(holder['since'])[:19]}"
    except (OSError, ValueError, TypeError, KeyError):
        return "its process is not known"
