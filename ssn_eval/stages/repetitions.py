"""The whole pipeline over several seeds: one working copy for each seed, run by DVC; all share the project's cache.

A copy links to the project's code, tasks, data and `dvc.yaml`; its `params.yaml` has another seed, and adds what the paper's
claims need beyond the quick default: each language's own MS and private neurons suppressed, matched controls of them, and training
without each language in turn. A killed run resumes; results that the project has already come from the cache.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from ssn_eval.core import files, lock, params
from ssn_eval.core.errors import MissingInputError, SsnError
from ssn_eval.core.settings import TrainParams, ValidateParams
from ssn_eval.stages import dvclock

NEEDED = ("dvc.yaml", ".dvcignore")
LINKED = (*NEEDED, "ssn_eval", "tasks", "data")
"""what a copy links to: the rest is in a clone, and not in a project of `ssn init`, where the package is installed"""
SEEDED = ("organism", "score", "train")
"""sections of `params.yaml` whose `seed` a repetition of the organism sets"""
SEEDED_REAL = ("prompts", "score", "train")
"""the same for a real model: the split of the prompts, the probes, the order of training"""


class RepetitionError(SsnError):
    """`dvc repro` of one repetition failed."""


def run(
    project: Path,
    out: Path,
    seeds: Sequence[int],
    stages: Sequence[str] = (),
    say: Callable[[str], None] = lambda _: None,
) -> dict[int, Path]:
    """Run the pipeline once a seed, under `out/seed-<n>`.

    Args:
        project: the pipeline's folder.
        out: where the working copies go.
        seeds: of the repetitions.
        stages: run only these, and what they need; all by default.
        say: is given a line before every repetition: which it is, and the time left as the finished ones took it.

    Returns:
        seed → its working copy.

    Raises:
        MissingInputError: `project` holds no pipeline.
        BusyError: another `ssn claims` works in `out`.
        RepetitionError: a stage failed; DVC's own words stand on stderr.
    """
    for name in (*NEEDED, "params.yaml"):
        if not (project / name).exists():
            raise MissingInputError(f"No pipeline in {project}: {name} is missing; run this in the project's folder.")
    settings = yaml.safe_load((project / "params.yaml").read_text(encoding="utf-8"))
    with lock.hold(out, "ssn claims"):
        claim_settings, start, copies = claimed(settings), time.monotonic(), dict[int, Path]()
        for number, seed in enumerate(seeds):
            say(f"seed {seed}, {number + 1} of {len(seeds)}{_left(time.monotonic() - start, number, len(seeds))}")
            copies[seed] = reproduce(project, out / f"seed-{seed}", seeded(claim_settings, seed), stages)
        return copies


def seeded(settings: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """The settings with every repetition seed set."""
    result = dict(settings)
    for section in SEEDED if settings.get("model", params.ORGANISM) == params.ORGANISM else SEEDED_REAL:
        result[section] = {**(settings.get(section) or {}), "seed": seed}
    return result


def claimed(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings with the sets and methods that the claims need; existing ones stay.

    Added are the presets `ms_<lang>` and `private_<lang>` of every NHR language and `<set>.random_0`, the matched control of each
    MS set, all suppressed and not amplified; and `ssn.without_<lang>`, training without a language.
    """
    defaults = {"validate": {"sets": list(ValidateParams().sets)}, "train": {"methods": list(TrainParams().methods)}}
    result = {**settings, "targets": dict(settings.get("targets") or {})}
    for section, values in defaults.items():
        result[section] = {**values, **(settings.get(section) or {})}
    langs = [lang for lang in settings.get("languages", ()) if lang != settings.get("hr", "en")]
    for family in ("ms", "private"):
        for lang in langs:
            result["targets"].setdefault(f"{family}_{lang}", {"from": family, "languages": [lang]})
    ms = ["ms_hr", *(f"ms_{lang}" for lang in langs)]
    added = [*ms, *(f"{name}.random_0" for name in ms), *(f"private_{lang}" for lang in langs)]
    validate, train = result["validate"], result["train"]
    new = [name for name in added if name not in validate["sets"]]
    validate["sets"] = [*validate["sets"], *new]
    validate["suppress_only"] = [*(validate.get("suppress_only") or ()), *new]
    methods = [*train["methods"], *(f"ssn.without_{lang}" for lang in langs)]
    train["methods"] = list(dict.fromkeys(methods))
    return result


def own_files(project: Path, settings: Mapping[str, Any]) -> list[str]:
    """The files and folders at the top of the project that the settings name by a relative path: prompt files and models."""
    named: list[Any] = [(settings.get("prompts") or {}).get(label) for label in ("harmful", "harmless")]
    named += [model.get("pretrained") for model in (settings.get("models") or {}).values()]
    paths = [Path(name) for name in named if name and not Path(name).is_absolute() and (project / name).exists()]
    tops = dict.fromkeys(path.parts[0] for path in paths if path.parts and path.parts[0] not in ("..", "artifacts"))
    return [top for top in tops if top not in LINKED]


def _left(seconds: float, finished: int, of: int) -> str:
    return f", some {seconds / finished * (of - finished) / 60:.0f} min left" if finished else ""


def reproduce(project: Path, folder: Path, settings: Mapping[str, Any], stages: Sequence[str] = ()) -> Path:
    """Run the project's pipeline with other settings in a working copy, which shares the project's cache.

    Args:
        project: the pipeline's folder.
        folder: the working copy; it is made, or continued.
        settings: the content of its `params.yaml`.
        stages: run only these, and what they need; all by default.

    Raises:
        ParamsError, UnknownNameError: a setting is wrong.
        RepetitionError: a stage failed.
    """
    project = project.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    files.write_text(folder / "params.yaml", yaml.safe_dump(dict(settings), allow_unicode=True, sort_keys=False))
    params.load(folder / "params.yaml")
    for name in (*LINKED, *own_files(project, settings)):
        link = folder / name
        if (project / name).exists() and not link.is_symlink():
            link.symlink_to(os.path.relpath(project / name, folder))
    if not (folder / ".dvc").is_dir():
        _dvc(folder, "init", "--quiet", "--no-scm")
    _dvc(folder, "cache", "dir", "--local", os.path.relpath(project / ".dvc" / "cache", folder))  # read from here
    if dvclock.is_damaged(folder):  # by a kill; what had finished is in the cache
        (folder / dvclock.NAME).unlink()
    _dvc(folder, "repro", "--quiet", *stages)  # each stage ends with one line of ours
    return folder


def _dvc(folder: Path, *words: str) -> None:
    command = [sys.executable, "-m", "dvc", *words]
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    process = subprocess.run(command, cwd=folder, env={**os.environ, "PATH": path}, stdout=2, check=False)
    if process.returncode:
        raise RepetitionError(
            f"`dvc {' '.join(words)}` failed in {folder}; what it said stands above (not with --quiet). Run it again to resume."
        )
