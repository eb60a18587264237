"""One file from a benchmark's source: fetched, checked, and only then put under its name.

A download goes to a hidden `.part` file beside the final name, so an interrupted one goes on where it stopped. A file whose
content is not the pinned one is refused, and nothing of it is kept.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssn_eval.core import files
from ssn_eval.core.errors import FormatError, MissingInputError
from ssn_eval.prompts.benchmarks.pins import Checksum, Pin

RAW = "https://raw.githubusercontent.com"
"""GitHub's files"""
API = "https://api.github.com"
"""GitHub's lists of files"""
TIMEOUT = (10, 60)
"""seconds to connect, and between two pieces of an answer"""
CHUNK = 1 << 16
"""bytes"""
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class Remote:
    """A file of a benchmark, where it is and where it goes."""

    pin: Pin
    path: str
    """in the repository"""
    target: Path
    revision: str | None = None
    """a commit, branch or tag instead of the pinned commit; its content is then not checked"""

    @property
    def address(self) -> str:
        """The URL of the file."""
        return address(self.pin, self.path, self.revision)

    @property
    def known(self) -> Checksum | None:
        """The content that the table of sources names."""
        return None if self.revision else self.pin.files.get(self.path)


def address(pin: Pin, path: str, revision: str | None = None) -> str:
    """Where one can download a source's file."""
    revision = revision or pin.revision
    if pin.host == "hub":
        from huggingface_hub import hf_hub_url

        return hf_hub_url(pin.repo, path, repo_type="dataset", revision=revision)
    return f"{RAW}/{pin.repo}/{revision}/{path}"


def is_commit(revision: str) -> bool:
    """Whether a revision names one content for ever; a branch or tag can move."""
    return _COMMIT.fullmatch(revision) is not None


def is_offline() -> bool:
    """Whether the environment forbids the network (`HF_HUB_OFFLINE`, as for models)."""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")


def fetch(remote: Remote, advance: Callable[[float], object] = lambda _: None) -> Path:
    """Download a file, check it, and put it at its target.

    Args:
        remote: the file.
        advance: is told the bytes that arrived.

    Raises:
        MissingInputError: the source cannot be reached or has no such file, or the network is switched off.
        FormatError: the content is not the pinned one; nothing is kept.
        DiskFullError: the file does not fit on the disk.
    """
    from filelock import FileLock

    target = remote.target
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.{(remote.revision or remote.pin.revision)[:12].replace('/', '_')}.part")
    lock = part.with_suffix(".lock")
    with FileLock(lock), files.told_when_full(target):
        try:
            checksum = remote.known or _listed(remote)
            if target.exists() and checksum and checksum.fits(target):  # another process was faster
                return target
            resumed = _download(remote, part, advance)
            if checksum and not checksum.fits(part) and resumed:
                part.unlink()
                _download(remote, part, advance)
            if checksum and not checksum.fits(part):
                found = checksum.of(part)
                part.unlink()
                raise FormatError(
                    f"{remote.address} is not the file that is pinned: expected {checksum}, got {found}. Nothing was kept; "
                    f"try again, and if it stays so, tell us, because the source has changed."
                )
            part.replace(target)
        finally:
            lock.unlink(missing_ok=True)
            with suppress(OSError):  # a folder that was made for nothing
                target.parent.rmdir()
    return target


def _download(remote: Remote, part: Path, advance: Callable[[float], object]) -> bool:
    """Bring the rest of a file into `part`; whether something was there already."""
    import requests

    start = part.stat().st_size if part.exists() else 0
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
    answer = _get(remote, remote.address, headers)
    try:
        if start and answer.status_code != 206:  # the whole file comes, or the part is longer than the file
            start = 0
            if answer.status_code == 416:
                answer.close()
                part.unlink()
                return _download(remote, part, advance)
        advance(start)
        with part.open("ab" if start else "wb") as handle:
            for chunk in answer.iter_content(CHUNK):
                handle.write(chunk)
                advance(len(chunk))
    except requests.RequestException as error:
        raise _unreachable(remote, error) from error
    finally:
        answer.close()
    length = answer.headers.get("Content-Length")
    if length is not None and part.stat().st_size != start + int(length):
        raise MissingInputError(f"{remote.address} was cut off; run the same command again, and it goes on from there.")
    return start > 0


def _get(remote: Remote, url: str, headers: Mapping[str, str]) -> Any:
    """The answer of a server, whose body has not been read yet."""
    import requests

    if is_offline():
        raise MissingInputError(
            f"{remote.address} cannot be fetched, because HF_HUB_OFFLINE switches the network off; unset it, or "
            f"{BRING.format(path=remote.target.name)}."
        )
    if remote.pin.host == "hub":
        from huggingface_hub.utils import build_hf_headers

        headers = {**build_hf_headers(), **headers}
    try:
        answer = requests.get(url, headers=headers, stream=True, timeout=TIMEOUT)
    except requests.RequestException as error:
        raise _unreachable(remote, error) from error
    if answer.status_code not in (200, 206, 416):
        answer.close()
        raise MissingInputError(f"{url} cannot be fetched: the server answers {answer.status_code} {answer.reason}.")
    return answer


BRING = "bring {path} from a machine with a network (`ssn data fetch NAME --print-sources` says how)"


def _unreachable(remote: Remote, error: Exception) -> MissingInputError:
    return MissingInputError(
        f"{remote.address} cannot be reached ({type(error).__name__}); check the network, or "
        f"{BRING.format(path=remote.target.name)}."
    )


def _listed(remote: Remote) -> Checksum | None:
    """The content that the host itself names for a file at the pinned commit; None for another revision.

    Raises:
        MissingInputError: the list cannot be had, or lacks the file.
    """
    if remote.revision:
        return None
    pin = remote.pin
    if pin.host == "hub":
        from huggingface_hub.constants import ENDPOINT

        url = f"{ENDPOINT}/api/datasets/{pin.repo}/tree/{pin.revision}?recursive=true"
    else:
        url = f"{API}/repos/{pin.repo}/git/trees/{pin.revision}?recursive=1"
    answer = _get(remote, url, {})
    try:
        body = answer.json()
        rows = body if pin.host == "hub" else body["tree"]
        row = next(row for row in rows if row["path"] == remote.path)
        if "lfs" in row:
            return Checksum("sha256", row["lfs"]["oid"], row["lfs"]["size"])
        return Checksum("git", row["oid" if pin.host == "hub" else "sha"], row["size"])
    except (ValueError, KeyError, TypeError, StopIteration) as error:
        raise MissingInputError(f"{url} does not list {remote.path}, so {remote.address} cannot be checked.") from error
    finally:
        answer.close()
