"""Where a benchmark's file is: a local copy, or the user's cache, which is filled from the source when a file is needed.

Local copies are looked for in the folder that `SSN_DATA_DIR` names, then in the pipeline's `data/` under the current
folder: first in the source's own form, then as `<name>.jsonl` in the project's. Then comes the cache, one folder for each
benchmark and commit. lm_eval's tasks, `ssn` and the pipeline all ask here.
"""

from __future__ import annotations

import os
from pathlib import Path

from ssn_eval.core.errors import FormatError, MissingInputError
from ssn_eval.prompts.benchmarks import fetching
from ssn_eval.prompts.benchmarks.fetching import Remote
from ssn_eval.prompts.benchmarks.source import Source, Split
from ssn_eval.prompts.prompt import Label

VARIABLE = "SSN_DATA_DIR"


def data_folders() -> list[Path]:
    """The folders that may hold local copies, in the order in which they are searched.

    Raises:
        MissingInputError: `SSN_DATA_DIR` is set to something that is no folder.
    """
    folder_name = os.environ.get(VARIABLE)
    if not folder_name:
        return [Path("data")]
    folder = Path(folder_name).expanduser()
    if not folder.is_dir():
        raise MissingInputError(f"{VARIABLE} is {folder_name}, which is no folder; correct it or unset it.")
    return [folder, Path("data")]


def cache_folder() -> Path:
    """The user's cache of benchmark files (`XDG_CACHE_HOME`, else `~/.cache`, or this system's place for it)."""
    from platformdirs import user_cache_path

    return user_cache_path("ssn_eval", appauthor=False) / "benchmarks"


def local_copy(source: Source) -> Path | None:
    """The local copy of a benchmark, a file or a folder, if there is one.

    Raises:
        MissingInputError: `SSN_DATA_DIR` is set to something that is no folder.
    """
    candidates = [folder / name for folder in data_folders() for name in (source.local, f"{source.name}.jsonl")]
    return next((path for path in candidates if path.exists()), None)


def file_in(source: Source, copy: Path, lang: str, label: Label, split: Split) -> Path | None:
    """The file of one language, label and split in a local copy; None if a folder does not have it."""
    if not copy.is_dir():
        return copy
    names = [source.local_file(name) for name in source.files(lang, label, split)]
    return next((copy / name for name in names if (copy / name).is_file()), None)


def is_here(source: Source, lang: str, label: Label) -> bool:
    """Whether the evaluated prompts of a language and label can be read without a network.

    Raises:
        MissingInputError: `SSN_DATA_DIR` is set to something that is no folder.
    """
    if local_copy(source) is not None:
        return True
    paths = [source.files(lang, label, split)[0] for split in source.evaluated_splits(label)]
    return all(_in_cache(source, path).is_file() for path in paths)


def absent(source: Source, folder: Path, lang: str, label: Label, split: Split) -> MissingInputError:
    """The error for a folder that lacks a file; it says where one can get the file."""
    path = source.files(lang, label, split)[0]
    return MissingInputError(
        f"{folder} is the local copy of {source.name}, but it has no {source.local_file(path)} ({lang}, {label}): run "
        f"`ssn data fetch {source.name} --into {folder.parent}` (it is {fetching.address(source.pin, path)}), or take "
        f"the folder away to read from the cache."
    )


def local_name(source: Source, path: str) -> str:
    """The name of a source's file in a folder of local copies."""
    return source.local if Path(source.local).suffix else f"{source.local}/{source.local_file(path)}"


def remotes(source: Source, folder: Path | None = None) -> list[Remote]:
    """Every file of a benchmark, with its place in a folder of local copies, or in the user's cache."""
    return [
        Remote(source.pin, path, folder / local_name(source, path) if folder else _in_cache(source, path))
        for path in source.pin.files
    ]


def fetched(source: Source, lang: str, label: Label, split: Split, revision: str | None = None) -> Path:
    """The file of one language, label and split in the user's cache; it is fetched if it is not there.

    Args:
        source: the benchmark.
        lang: the language.
        label: the label.
        split: the split.
        revision: a commit, branch or tag instead of the pinned commit.

    Raises:
        MissingInputError: the file is neither cached nor reachable; the message names the file, its source, and the place to put it.
        FormatError: the source gives another file than the pinned one.
    """
    path = source.files(lang, label, split)[0]
    other = revision if revision != source.pin.revision else None
    remote = Remote(source.pin, path, _in_cache(source, path, other), other)
    if remote.target.is_file() and fetching.is_commit(other or source.pin.revision):
        return remote.target
    try:
        return fetching.fetch(remote)
    except FormatError:
        raise
    except MissingInputError as error:
        if remote.target.is_file():  # of a branch or tag: what it was when it could be reached
            return remote.target
        form = local_name(source, path)
        raise MissingInputError(
            f"{form} is neither in {VARIABLE} ({os.environ.get(VARIABLE) or 'not set'}) nor in ./data nor in the cache, and "
            f"{remote.address} was not fetched: run `ssn data fetch {source.name}` where there is a network, or put that "
            f"file there as {form} (or all prompts of {source.name} as {source.name}.jsonl). The reason: {error}"
        ) from error


def _in_cache(source: Source, path: str, revision: str | None = None) -> Path:
    commit = (revision or source.pin.revision).replace("/", "_")
    return cache_folder() / source.name / commit / Path(local_name(source, path)).name
