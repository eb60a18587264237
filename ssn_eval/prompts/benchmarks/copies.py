"""A benchmark's file: a local copy, or the pinned one from the hub or GitHub, which is kept in their caches.

Local copies are looked for in the folder that `SSN_DATA_DIR` names, then in the pipeline's `data/` under the current
folder: first in the source's own form, then as `<name>.jsonl` in the project's.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from ssn_eval.core.errors import MissingInputError
from ssn_eval.prompts.benchmarks.source import Source, Split
from ssn_eval.prompts.prompt import Label

RAW = "https://raw.githubusercontent.com"
_COMMIT = re.compile(r"[0-9a-f]{40}")


def local_copy(source: Source) -> Path | None:
    """The local copy of a benchmark, a file or a folder, if there is one.

    Raises:
        MissingInputError: `SSN_DATA_DIR` is set to something that is no folder.
    """
    folders = [Path("data")]
    folder_name = os.environ.get("SSN_DATA_DIR")
    if folder_name:
        folders.insert(0, Path(folder_name).expanduser())
        if not folders[0].is_dir():
            raise MissingInputError(f"SSN_DATA_DIR is {folder_name}, which is no folder; correct it or unset it.")
    candidates = [folder / name for folder in folders for name in (source.local, f"{source.name}.jsonl")]
    return next((path for path in candidates if path.exists()), None)


def file_in(source: Source, copy: Path, lang: str, label: Label, split: Split) -> Path | None:
    """The file of one language, label and split in a local copy; None if a folder does not have it."""
    if not copy.is_dir():
        return copy
    names = [Path(name).name for name in source.files(lang, label, split)]
    return next((copy / name for name in names if (copy / name).is_file()), None)


def absent(source: Source, folder: Path, lang: str, label: Label, split: Split) -> MissingInputError:
    """The error for a folder that lacks a file; it says where one can get the file."""
    path = source.files(lang, label, split)[0]
    return MissingInputError(
        f"{folder} is the local copy of {source.name}, but it has no {Path(path).name} ({lang}, {label}): put "
        f"{address(source, path, source.revision)} there, or take the folder away to read online."
    )


def fetched(source: Source, lang: str, label: Label, split: Split, revision: str | None = None) -> Path:
    """The file of one language, label and split from the source, from the cache if it was read before.

    Args:
        source: the benchmark.
        lang: the language.
        label: the label.
        split: the split.
        revision: a commit, branch or tag instead of the pinned commit.

    Raises:
        MissingInputError: the file is neither cached nor reachable; the message names the file, its source, and the place to put it.
    """
    revision, path = revision or source.revision, source.files(lang, label, split)[0]
    try:
        return _from_hub(source.repo, path, revision) if source.host == "hub" else _from_github(source, path, revision)
    except Exception as error:  # the libraries raise errors of many unrelated classes
        form = source.local if Path(source.local).suffix else f"{source.local}/{Path(path).name}"
        pull = f"run `{source.pull}` in the project, or " if source.pull else ""
        raise MissingInputError(
            f"{form} is neither in SSN_DATA_DIR nor in ./data, and {address(source, path, revision)} is neither cached nor "
            f"reachable ({type(error).__name__}): {pull}put that file there as {form} (or all prompts of {source.name} as "
            f"{source.name}.jsonl), or go online once."
        ) from error


def address(source: Source, path: str, revision: str) -> str:
    """Where one can download a source's file."""
    if source.host == "hub":
        from huggingface_hub import hf_hub_url

        return hf_hub_url(source.repo, path, repo_type="dataset", revision=revision)
    return f"{RAW}/{source.repo}/{revision}/{path}"


def _from_hub(repo: str, path: str, revision: str) -> Path:
    from huggingface_hub import hf_hub_download

    return Path(hf_hub_download(repo, path, repo_type="dataset", revision=revision))


def _from_github(source: Source, path: str, revision: str) -> Path:
    from datasets import DownloadConfig, DownloadManager

    # The file at a commit never changes, so one in the cache needs no question to the server, and none offline.
    config = DownloadConfig(use_etag=not _COMMIT.fullmatch(revision))
    return Path(str(DownloadManager(download_config=config).download(address(source, path, revision))))
