"""Reading and writing files. A file appears under its final name only when it is complete."""

from __future__ import annotations

import errno
import glob
import gzip
import hashlib
import json
import os
import re
import shutil
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ssn_eval.core.errors import FormatError, MissingInputError, ParamsError, SsnError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FULL_MESSAGES = ("No space left", "Disk quota exceeded", "File too large", "file write failed", "unexpected pos")
"""parts of the messages of libraries that do not raise `OSError` for a full disk (safetensors, torch)"""


class DiskFullError(SsnError):
    """A file did not fit on the disk."""


LARGEST = 1 << 30
"""bytes; the size from which a file is refused"""


@contextmanager
def told_when_full(path: Path) -> Iterator[None]:
    """Convert any exception about a full disk into a `DiskFullError`.

    Raises:
        DiskFullError: the body could not write; names `path`.
    """
    try:
        yield
    except Exception as error:
        if not is_full(error):
            raise
        raise DiskFullError(
            f"The disk is full: {path.as_posix()} could not be written, and nothing half-written was left under that name. "
            f"Make room and run the same command again."
        ) from error


def is_full(error: BaseException) -> bool:
    """Whether an exception says that the disk is full."""
    if isinstance(error, OSError) and error.errno in _FULL:
        return True
    return any(phrase in str(error) for phrase in _FULL_MESSAGES)


_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
_UNSAFE = re.compile(r'[<>:"/\\|?*\x00-\x1f]|[. ]$')


def is_portable(name: str) -> bool:
    """Whether a name is a valid file name on every system; path separators and names that Windows reserves are not."""
    return 0 < len(name) <= 200 and not _RESERVED.fullmatch(name) and not _UNSAFE.search(name)


def sentence(error: OSError) -> str:
    """The message of a system error (file or network) as one sentence."""
    if is_full(error):
        return f"The disk is full: {error.filename or 'a file'} could not be written. Make room and run the same command again."
    if error.errno is None:
        return f"Reading or writing failed: {' '.join(str(error).split())}."
    return f"{error.filename or 'A file'} cannot be used: {error.strerror or error}."


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; after the body, the file or folder there is renamed to `path`.

    If the body raises an exception, `path` is not changed. A system error names `path`, not the temporary one.

    Raises:
        ParamsError: a file was written, but `path` is a folder.
        DiskFullError: the file does not fit on the disk.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with told_when_full(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove(temporary)
        _remove_orphans(path)
        try:
            yield temporary
            if temporary.is_dir():
                _remove(path)
            else:
                refuse_folder(path)
            temporary.replace(path)
        except OSError as error:
            if error.filename in (temporary, str(temporary)):
                error.filename = str(path)
            raise
        finally:
            _remove(temporary)


def refuse_folder(path: Path) -> None:
    """Stop if a file cannot be written because its name is that of a folder; for commands that work long before they write.

    Raises:
        ParamsError: names the folder.
    """
    if path.is_dir():
        raise ParamsError(f"{path} is a folder, but a file is written here; name a file in it.")


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text, completely or not at all."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: object) -> None:
    """Write JSON with sorted keys, so that equal values give equal bytes. NaN is refused."""
    write_text(path, json.dumps(value, ensure_ascii=False, indent=1, sort_keys=True, allow_nan=False) + "\n")


def read_json(path: Path, what: str) -> Any:
    """Read a JSON file.

    Args:
        path: the file.
        what: what the file should be, for the message, for example `"a neuron set"`.

    Raises:
        MissingInputError: there is no such file.
        FormatError: it is not JSON.
    """
    return parse_json(read_text(path, what), str(path), what)


def read_text(path: Path, what: str) -> str:
    """Read UTF-8 text, with or without a byte order mark.

    Raises:
        MissingInputError: there is no such file.
        FormatError: the file is not UTF-8, or has `LARGEST` bytes or more.
    """
    try:
        return read_bytes(path, what).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise FormatError(f"{path} is not {what}: it is not UTF-8 text ({error}).") from error


def read_bytes(path: Path, what: str) -> bytes:
    """Read a file, unpacked if its name ends in `.gz`.

    Raises:
        MissingInputError: there is no such file.
        FormatError: the file has `LARGEST` bytes or more, or is damaged.
    """
    if not path.is_file():
        raise MissingInputError(f"No file at {path}; expected {what}.")
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as handle:
            data = handle.read(LARGEST)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise FormatError(f"{path} is not {what}: it is damaged or no gzip file ({error}).") from error
    if len(data) == LARGEST:
        raise FormatError(f"{path} is not {what}: it holds {LARGEST >> 20} MiB or more.")
    return data


def parse_json(text: str, where: str, what: str) -> Any:
    """Parse JSON text.

    Args:
        text: the JSON.
        where: the file or its line, for the message.
        what: what the text should be, for the message.

    Raises:
        FormatError: the text is not JSON, is nested too deeply for Python, or holds half of a surrogate pair, which is no character.
    """
    try:
        value = json.loads(text)
        if _HALF.search(text):
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise FormatError(
            f"{where} is not {what}: it holds half of a surrogate pair (\\u{ord(error.object[error.start]):04x}), which is no "
            f"character; correct the text there."
        ) from error
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{where} is not {what}: it is not valid JSON ({error}).") from error
    return value


_HALF = re.compile(r"\\u[dD][89a-fA-F]")
"""an escape of JSON that is half of a pair"""


def sha256(path: Path) -> str:
    """The sha256 of a file's bytes, or of a folder's files (relative names and bytes, sorted), in hex."""
    digest = hashlib.sha256()
    if path.is_dir():
        for file in sorted(p for p in path.rglob("*") if p.is_file()):
            digest.update(f"{file.relative_to(path).as_posix()}\0{sha256(file)}\n".encode())
        return digest.hexdigest()
    with path.open("rb") as handle:
        while chunk := handle.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _remove_orphans(path: Path) -> None:
    """Remove temporary files of this name that a killed process left behind."""
    for orphan in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        remove_orphan(orphan)


def remove_orphan(temporary: Path) -> None:
    """Remove a temporary file or folder of `atomic` if the process that wrote it has ended."""
    number = temporary.name.removesuffix(".tmp").rpartition(".")[2]
    if number.isdigit():
        import psutil

        if not psutil.pid_exists(int(number)):
            _remove(temporary)


def portable(name: str) -> str:
    """A path as an artefact records it: relative to the current folder if it lies below it, else only its last part.

    Relative paths and hub ids are returned unchanged.
    """
    path = Path(name)
    if not path.is_absolute():
        return path.as_posix()
    try:
        return path.relative_to(Path.cwd()).as_posix()
    except ValueError:
        return path.name


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
