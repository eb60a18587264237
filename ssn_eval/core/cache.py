"""The user's cache of weights that a condition needs: one folder for each model and condition, made once.

The folder is `weights` in `SSN_CACHE_DIR`, or in `ssn_eval` in the user's cache. Two processes that need the same entry wait for each
other; an entry appears under its name only when it is complete, and what a killed process left behind is removed.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssn_eval.core import files
from ssn_eval.core.errors import SsnError, UnknownNameError
from ssn_eval.core.lock import path_of

RECORD = "ssn.json"


def home() -> Path:
    """The project's cache of this user."""
    user = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("SSN_CACHE_DIR") or Path(user) / "ssn_eval")


def folder() -> Path:
    """The folder of the entries."""
    return home() / "weights"


@dataclass(frozen=True)
class Entry:
    """One folder of weights in the cache."""

    name: str
    bytes: int
    used: float
    """when a run last used it, in seconds since 1970"""
    kind: str
    """the format in its `ssn.json`, such as `ssn-baked/1`; empty if it has none"""


def once(name: str, make: Callable[[Path], object], waiting: Callable[[str], object] = lambda _: None) -> Path:
    """The entry of that name; `make` fills its folder if it is not there.

    Args:
        name: a file name that holds a hash of everything that decides the content.
        make: writes the folder at the given path, completely or not at all (`files.atomic`).
        waiting: is called with a sentence if another process makes the same entry now.
    """
    from filelock import FileLock, Timeout

    place = folder() / name
    place.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path_of(place))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        waiting(f"Another process makes {place.as_posix()}; this one waits for it.")
        lock.acquire()
    try:
        if not place.is_dir():
            make(place)
        with suppress(OSError):
            os.utime(place)
    finally:
        lock.release()
    return place


def entries() -> list[Entry]:
    """Every complete entry, the one that was used last first."""
    if not folder().is_dir():
        return []
    found = [_entry(path) for path in folder().iterdir() if path.is_dir() and not path.name.startswith(".")]
    return sorted(found, key=lambda entry: (-entry.used, entry.name))


def clear(names: Sequence[str] = ()) -> tuple[list[Entry], list[Entry]]:
    """Remove entries, all of them if no name is given; also what killed processes left behind.

    An entry that a process makes now stays.

    Returns:
        The removed entries, and those that stay.

    Raises:
        UnknownNameError: there is no such entry; nothing was removed.
    """
    from filelock import FileLock, Timeout

    by_name = {entry.name: entry for entry in entries()}
    for name in names:
        if name not in by_name:
            raise UnknownNameError("cached weights", name, by_name)
    removed, kept = [], []
    for entry in [by_name[name] for name in names or by_name]:
        lock = FileLock(path_of(folder() / entry.name))
        try:
            with lock.acquire(timeout=0):
                aside = folder() / f".{entry.name}.{os.getpid()}.tmp"
                (folder() / entry.name).rename(aside)
                shutil.rmtree(aside)
            removed.append(entry)
        except Timeout:
            kept.append(entry)
    if folder().is_dir():
        for orphan in folder().glob(".*.tmp"):
            files.remove_orphan(orphan)
    return removed, kept


def _entry(path: Path) -> Entry:
    size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    record: Any = None
    with suppress(SsnError):
        record = files.read_json(path / RECORD, "a record of how weights were made")
    kind = record.get("format", "") if isinstance(record, dict) else ""
    return Entry(path.name, size, path.stat().st_mtime, str(kind))


def age(entry: Entry, now: float | None = None) -> str:
    """How long ago an entry was used, for people: `3 days`."""
    seconds = max(0.0, (time.time() if now is None else now) - entry.used)
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= length:
            count = int(seconds // length)
            return f"{count} {unit}{'s' if count > 1 else ''}"
    return "now"
