"""Write a project's folder: all of it or nothing, and nothing that is there is overwritten."""

from __future__ import annotations

import logging
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ssn_eval.core import files
from ssn_eval.core.errors import MissingInputError, ParamsError, SsnError
from ssn_eval.stages.project.pipeline import PLOTS

MARKS = ("dvc.yaml", "params.yaml", "dvc.lock")
"""files that a pipeline has; a folder with one of them is left alone"""
MERGED = (".gitignore", ".dvcignore")
"""files to which missing lines are added"""


class ExistingPipelineError(SsnError):
    """The folder has a pipeline already."""


class CreationError(SsnError):
    """git or DVC could not be set up in the folder."""


def refuse(folder: Path, *, git: bool) -> None:
    """Stop if no project can be written here.

    Raises:
        ExistingPipelineError: the folder has a pipeline.
        ParamsError: the folder is a file, or lies below one.
        MissingInputError: git is wanted and not installed.
    """
    for path in (folder, *folder.absolute().parents):
        if path.exists() and not path.is_dir():
            raise ParamsError(f"{path} is a file; name a folder for the project.")
    found = next((name for name in MARKS if (folder / name).exists()), None)
    if found:
        raise ExistingPipelineError(
            f"{folder} has a pipeline already ({found}); nothing was changed. Name another folder, or edit "
            f"{folder / 'params.yaml'} there."
        )
    if git and not _has_git(folder) and shutil.which("git") is None:
        raise MissingInputError(
            "git is not installed; install it, or give --no-git (then `dvc exp run` does not work)."
        )


def create(folder: Path, texts: Mapping[str, str], *, git: bool = True) -> None:
    """Write the files, and make a git and a DVC repository where there are none.

    Args:
        folder: new, or existing without a pipeline.
        texts: name → content. `.gitignore` and `.dvcignore` get the lines that they lack; any other file that is there stays.
        git: run `git init`, unless a git repository holds the folder. `dvc init` is run unless the folder has a `.dvc`; DVC is
            told neither to report its use nor to look for a newer version.

    Raises:
        SsnError: as `refuse`; the disk is full; or git or DVC refused. The folder is then as it was.
    """
    refuse(folder, git=git)
    with files.told_when_full(folder), _undone_on_error(folder, texts):
        folder.mkdir(parents=True, exist_ok=True)
        if git and not _has_git(folder):
            _run_git(folder)
        if not (folder / ".dvc").exists():
            _init_dvc(folder)
        ordered = sorted(texts, key=lambda name: name in MARKS)  # a folder with a mark is complete
        for name in ordered:
            path = folder / name
            if name in MERGED and path.exists():
                present = files.read_text(path, "a list of ignored files")
                files.write_text(path, _with_lines(present, texts[name]))
            elif not path.exists():
                files.write_text(path, texts[name])


@contextmanager
def _undone_on_error(folder: Path, texts: Mapping[str, str]) -> Iterator[None]:
    """Remove what was made and restore what was changed, if the body does not end well."""
    missing = [path for path in (*reversed(folder.absolute().parents), folder.absolute()) if not path.exists()]
    names = {".git", ".dvc", *(Path(name).parts[0] for name in texts), *MERGED}
    new = [folder / name for name in names if not (folder / name).exists()]
    old = {path: path.read_bytes() for name in MERGED if (path := folder / name).is_file()}
    new_templates = [folder / name for name in PLOTS if not (folder / name).exists()]
    try:
        yield
    except BaseException:  # Ctrl-C too: it goes on below, after the folder is as it was
        for path in (*new, *new_templates, *missing[:1]):
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        for path, content in old.items():
            if path.read_bytes() != content:
                path.write_bytes(content)
        raise


def _with_lines(present: str, wanted: str) -> str:
    lines = present.splitlines()
    return "\n".join([*lines, *(line for line in wanted.splitlines() if line not in lines)]) + "\n"


def _has_git(folder: Path) -> bool:
    return any((path / ".git").exists() for path in (folder.absolute(), *folder.absolute().parents))


def _run_git(folder: Path) -> None:
    done = subprocess.run(["git", "init", "--quiet"], cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CreationError(f"`git init` failed in {folder}: {_last_line(done.stderr)}")


def _init_dvc(folder: Path) -> None:
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    logging.getLogger("dvc").setLevel(logging.WARNING)  # it advises a commit, which is too early here
    root = folder.absolute()
    has_git = _has_git(folder)
    try:
        repository: Any = Repo.init(str(root), no_scm=not has_git, subdir=has_git and not (root / ".git").exists())
        with repository.config.edit("repo") as config:
            config["core"].update({"analytics": False, "check_update": False})
        repository.close()
    except DvcException as error:
        raise CreationError(f"`dvc init` failed in {folder}: {_last_line(str(error))}") from error


def _last_line(text: str) -> str:
    return next((line for line in reversed(text.strip().splitlines()) if line.strip()), "it said nothing")
