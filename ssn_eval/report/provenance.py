"""The provenance of a run: params, data and commands from `dvc.lock`, the resources of the stages, and commands to repeat the run.

`dvc.lock` lies beside the results. Its entry for the report is left out, so that the page of the last stage depends only on its
inputs. Times and the git revision differ between machines; only the page of `ssn report` shows them.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from ssn_eval.core import files
from ssn_eval.core.errors import FormatError
from ssn_eval.report.results import Results

TIMES = Path("logs/stages")
"""the folder in which a stage records its time and memory, below the folder of the run"""


class Hash(NamedTuple):
    """A file or folder that a stage read or wrote."""

    path: str
    digest: str
    size: int | None
    stage: str
    """the stage that wrote it; empty for data that no stage wrote"""


class Took(NamedTuple):
    """The time and memory of a stage, on the machine that ran it."""

    stage: str
    seconds: float
    cpu_seconds: float
    peak_memory: int
    gpu: str | None
    gpu_peak_memory: int | None


class Made(NamedTuple):
    """The provenance of a run."""

    params: str
    """YAML of every param that a stage read; empty if unknown"""
    commands: Sequence[tuple[str, str]]
    """(stage, command)"""
    hashes: Sequence[Hash]
    took: Sequence[Took]
    revision: str | None


def of(results_folder: Path, results: Results, *, machine: bool) -> Made:
    """The provenance of a run, from the files beside its folder of results.

    Args:
        results_folder: the folder of results of a run, such as `results`.
        results: the results in it; stages of sets and methods that they do not have are left out.
        machine: whether to include what differs between machines.

    Raises:
        FormatError: `dvc.lock` or the record of a stage is damaged.
    """
    run = results_folder.parent
    stages = dict(_stages(run / "dvc.lock", results))
    writers = {out["path"]: name for name, stage in stages.items() for out in stage.get("outs", [])}
    hashes: dict[str, Hash] = {}
    for stage in stages.values():
        for item in [*stage.get("deps", []), *stage.get("outs", [])]:
            path, digest = item["path"], item.get("md5")
            if digest and not path.startswith("ssn_eval/"):
                hashes[path] = Hash(path, str(digest), item.get("size"), writers.get(path, ""))
    params: dict[str, Any] = {}
    for stage in stages.values():
        for values in (stage.get("params") or {}).values():
            params |= values
    return Made(
        yaml.safe_dump(_nested(params), allow_unicode=True, sort_keys=True, width=100) if params else "",
        [(name, " ".join(str(stage["cmd"]).split())) for name, stage in stages.items()],
        [hashes[path] for path in sorted(hashes)],
        list(_took(run / TIMES)) if machine else [],
        _revision(run) if machine else None,
    )


def commands(results: Results, made: Made) -> list[str]:
    """The commands that repeat this run, and those that measure its model with lm_eval alone."""
    model = (results.select.get("model") or {}).get("id")
    revision = (results.select.get("model") or {}).get("revision")
    local = not model or "/" not in str(model) or str(model).startswith(("artifacts/", "."))
    arguments = "" if local else f" --model_args pretrained={model}{f',revision={revision}' if revision else ''}"
    tasks = "organism_safety" if local else "multijail"
    neurons = ("," if arguments else " --model_args ") + "neurons=artifacts/sets/ss.json,op=suppress"
    commit, dirty, _ = (made.revision or "").partition("-dirty")
    start = [f"git checkout {commit}{'  # files differed from this commit' if dirty else ''}"] if commit else []
    if made.params:
        start.append("# the params below as params.yaml, then")
    return [
        *start,
        "dvc repro",
        "ssn report results --out report",
        f"lm_eval --model ssn_hf{arguments} --tasks {tasks} --apply_chat_template",
        f"lm_eval --model ssn_hf{arguments}{neurons} --tasks {tasks} --apply_chat_template",
    ]


def _stages(lock: Path, results: Results) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The stages of a lock file that belong to these results, in the order of the file."""
    if not lock.is_file():
        return
    without = [f"{method}.without_{lang}" for method, by_lang in results.left_out.items() for lang in by_lang]
    variants = (*results.trained, *without)
    items_by_kind = {
        "score": results.languages,
        "validate": tuple(results.interventions),
        "train": variants,
        "evaluate": variants,
    }
    try:
        stages = yaml.safe_load(lock.read_text(encoding="utf-8"))["stages"]
        for name, stage in stages.items():
            kind, _, item = name.partition("@")
            if kind != "report" and (not item or item in items_by_kind.get(kind, (item,))):
                stage["cmd"]
                yield name, stage
    except (yaml.YAMLError, KeyError, TypeError, AttributeError, UnicodeDecodeError) as error:
        raise FormatError(
            f"{lock.as_posix()} is not DVC's lock file ({error!r}); delete it and run `dvc repro`."
        ) from error


def _nested(params: Mapping[str, Any]) -> dict[str, Any]:
    """`{"train.pairs": 64}` → `{"train": {"pairs": 64}}`; a whole section has priority over its single keys."""
    nested: dict[str, Any] = {name: value for name, value in params.items() if "." not in name}
    for name, value in params.items():
        *path, last = name.split(".")
        place: Any = nested
        for part in path:
            place = place.setdefault(part, {}) if isinstance(place, dict) else {}
        if path and isinstance(place, dict):
            place.setdefault(last, value)
    return nested


def _took(folder: Path) -> Iterator[Took]:
    for path in sorted(folder.glob("*.json"), key=lambda p: p.stat().st_mtime_ns):
        data = files.read_json(path, "the record of a stage")
        try:
            yield Took(**{name: data[name] for name in Took._fields})
        except (KeyError, TypeError) as error:
            raise FormatError(f"{path.as_posix()} is not the record of a stage; delete it.") from error


def _revision(run: Path) -> str | None:
    """The git commit of the project, with `-dirty` if files differ from it; None outside git."""
    command = ["git", "-C", str(run), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        process = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return process.stdout.strip() or None if process.returncode == 0 else None
