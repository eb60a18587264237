"""What of a benchmark is on this machine, and the rest of it from its source."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssn_eval.core.errors import FormatError, UnknownNameError
from ssn_eval.prompts.benchmarks import fetching
from ssn_eval.prompts.benchmarks.copies import cache_folder, file_in, local_copy, remotes
from ssn_eval.prompts.benchmarks.fetching import Remote
from ssn_eval.prompts.benchmarks.source import Source


@dataclass(frozen=True)
class Presence:
    """The files of a benchmark that a run would read."""

    place: Path | None
    """a local copy or the cache's folder; None if there is nothing"""
    is_own: bool
    """whether the place is a `<name>.jsonl` in the project's own form"""
    present: int
    other: int
    """present files whose content is not the pinned one"""
    total: int
    """files that the source has"""

    def __str__(self) -> str:
        """For people, in some words."""
        if self.is_own:
            return "own file"
        if not self.present:
            return "not here"
        count = "all files" if self.present >= self.total else f"{self.present} of {self.total} files"
        return f"{count}, {self.other} not as pinned" if self.other else count

    def to_json(self) -> dict[str, Any]:
        """For programs."""
        place = None if self.place is None else self.place.as_posix()
        counts = {"present": self.present, "not_as_pinned": self.other, "files": self.total}
        return {"place": place, "own_file": self.is_own, **counts}


def presence(source: Source) -> Presence:
    """What a run would read of a benchmark without the network.

    Raises:
        MissingInputError: `SSN_DATA_DIR` is set to something that is no folder.
    """
    copy = local_copy(source)
    total = len(source.pin.files)
    if copy is not None and copy.name == f"{source.name}.jsonl":
        return Presence(copy, True, 1, 0, total)
    if copy is not None:
        places = _files_in(source, copy)
    else:
        places = {remote.path: remote.target for remote in remotes(source) if remote.target.is_file()}
        copy = cache_folder() / source.name if places else None
    pins = source.pin.files
    other = sum(
        checksum is not None and not checksum.fits(places[path]) for path, checksum in pins.items() if path in places
    )
    return Presence(copy, False, len(places), other, total)


def chosen(source: Source, langs: Sequence[str] | None, folder: Path | None) -> list[Remote]:
    """The files of some languages, or of all, with their places in a folder of local copies, or in the cache.

    Raises:
        UnknownNameError: the benchmark does not have a language.
    """
    for lang in langs or ():
        if lang not in source.languages:
            raise UnknownNameError(f"language of {source.name}", lang, source.languages)
    paths = set(_paths(source, langs or source.languages))
    return [remote for remote in remotes(source, folder) if remote.path in paths]


def bring(wanted: Sequence[Remote], advance: Callable[[float], object] = lambda _: None) -> list[Path]:
    """Fetch the files that are not there; the paths of those that were fetched.

    Args:
        wanted: files of one or several benchmarks.
        advance: is told the finished share of each file, 1 in all.

    Raises:
        FormatError: a file is there and is not the pinned one, or the source gives another file; nothing is overwritten.
        MissingInputError: the source cannot be reached.
    """
    for remote in wanted:
        if remote.target.is_file() and remote.known and not remote.known.fits(remote.target):
            raise FormatError(
                f"{remote.target} is there already and is not the pinned file ({remote.known}); it was left as it is. Move it "
                f"away, or fetch into another folder."
            )
    fetched: list[Path] = []
    for remote in wanted:
        share = _Share(advance, remote.known.size if remote.known else None)
        if not remote.target.is_file():
            fetched.append(fetching.fetch(remote, share.add))
        share.finish()
    return fetched


class _Share:
    """The finished share of one file, from the bytes that arrive."""

    def __init__(self, advance: Callable[[float], object], size: int | None) -> None:
        self.advance, self.size, self.done = advance, size, 0.0

    def add(self, arrived: float) -> None:
        step = min(arrived / self.size, 1 - self.done) if self.size else 0.0
        self.done += step
        self.advance(step)

    def finish(self) -> None:
        self.advance(1 - self.done)


def _paths(source: Source, langs: Sequence[str]) -> list[str]:
    """The files of some languages in the repository: of every label, and of every split that is read."""
    return [
        source.files(lang, label, split)[0]
        for lang in langs
        for label in source.labels
        for split in source.splits.get(label, (None,))
    ]


def _files_in(source: Source, copy: Path) -> dict[str, Path]:
    """Path in the repository → the file of a local copy that has its place."""
    return {
        source.files(lang, label, split)[0]: file
        for lang in source.languages
        for label in source.labels
        for split in source.splits.get(label, (None,))
        if (file := file_in(source, copy, lang, label, split))
    }
