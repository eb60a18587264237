"""The line that a stage ends with: which of how many it is, what it did, its time, and about how much time is left.

The time left is that of the later stages when they ran last in this folder. For a stage that has never run here it is estimated: from a
stage with the same kind of work that has, or, for the embedded model, from what the stages took where they were measured, and from how fast
this machine ran the stages before. Where neither is known, no time is told.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from ssn_eval.core.params import ORGANISM, Params
from ssn_eval.core.progress import duration

TIMES = Path("logs/stages")
"""a JSON file for each stage that ran here: what it took; `ssn report` shows it"""
PIPELINE = Path("dvc.yaml")
KINDS: Mapping[str, str] = {"validate": "condition", "evaluate": "condition"}
"""stages that share their kind of work with another; every other stage has a kind of its own"""
USUAL: Mapping[str, float] = {
    "organism": 295.0,
    "prompts": 6.5,
    "score": 1.4,
    "select": 1.4,
    "condition": 5.8,
    "train": 14.0,
    "report": 3.9,
}
"""kind → seconds of one unit of work (`units`) with the organism: CPU time of the shipped settings in November 2026, from
`logs/stages`; with the organism only the ratios count"""
ANY_MODEL = ("select", "report")
"""kinds that take the same with every model"""


def stages(pipeline: Mapping[str, Any], settings: Mapping[str, Any]) -> list[str]:
    """The names of a pipeline's stages as DVC writes them, in the order of the file.

    Args:
        pipeline: the content of `dvc.yaml`.
        settings: the content of `params.yaml`; a `foreach` may name one of its lists.
    """
    names = []
    for name, stage in pipeline["stages"].items():
        items = stage.get("foreach")
        if isinstance(items, str):
            value: Any = settings
            for key in items.strip("${}").split("."):
                value = value[key]
            items = value
        names += [name] if items is None else [f"{name}@{item}" for item in items]
    return names


def here() -> list[str]:
    """The stages of the pipeline in this folder; none if it cannot be read as one."""
    try:
        pipeline, settings = (
            yaml.safe_load(path.read_text(encoding="utf-8")) for path in (PIPELINE, Path("params.yaml"))
        )
        return stages(pipeline, settings)
    except (OSError, ValueError, LookupError, TypeError, AttributeError, yaml.YAMLError):
        return []  # the pipeline is the user's own; a line without a number is good enough


def recorded(folder: Path = TIMES) -> dict[str, float]:
    """Stage → the seconds that it took when it ran last."""
    seconds = {}
    for path in folder.glob("*.json"):
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            seconds[str(record["stage"])] = float(record["seconds"])
        except (OSError, ValueError, LookupError, TypeError):
            continue
    return seconds


def left(stage: str, names: Sequence[str], seconds: Mapping[str, float], settings: Params) -> float | None:
    """The seconds that the stages after this one will take if all of them run; None if that cannot be told.

    Args:
        stage: the one that has just ended.
        names: of all stages, in their order.
        seconds: stage → what it took; the stages up to this one say how fast the machine is.
        settings: how much work a stage has.
    """
    place = names.index(stage)
    work = {name: units(name, settings) for name in names}
    measured: dict[str, list[tuple[float, int]]] = {}
    for name in (name for name in names if name in seconds and work[name]):
        measured.setdefault(kind(name), []).append((seconds[name], work[name]))
    by_kind = {one: sum(s for s, _ in found) / sum(n for _, n in found) for one, found in measured.items()}
    if settings.model == ORGANISM:
        before = [name for name in names[: place + 1] if name in seconds and kind(name) in USUAL]
        expected = sum(USUAL[kind(name)] * work[name] for name in before)
        pace = sum(seconds[name] for name in before) / expected if expected else None
        usual = {one: value * pace for one, value in USUAL.items()} if pace is not None else {}
    else:
        usual = {one: USUAL[one] for one in ANY_MODEL}
    by_kind = {**usual, **by_kind}
    later = names[place + 1 :]
    if any(name not in seconds and kind(name) not in by_kind for name in later):
        return None
    return sum(seconds[name] if name in seconds else by_kind[kind(name)] * work[name] for name in later)


def line(stage: str, did: str, seconds: float, names: Sequence[str], time_left: float | None) -> str:
    """The line.

    Args:
        stage: the name of the stage.
        did: what it did, with its number; no full stop.
        seconds: what it took.
        names: of all stages; empty if they are not known.
        time_left: of the stages after it, in seconds; None if it is not known.
    """
    number = f"{names.index(stage) + 1} of {len(names)}, " if stage in names else ""
    is_last = stage in names and stage == names[-1]
    rest = "" if is_last or time_left is None else f", about {duration(time_left)} left"
    return f"{number}{stage}: {did} ({duration(seconds)}{rest})"


def counted(number: int, noun: str) -> str:
    """A number with its noun: `1 condition`, `18 conditions`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def percent(share: float | None) -> str:
    """A share as a whole percentage; a dash if it was not measured."""
    return "–" if share is None else f"{100 * share:.0f} %"


def kind(stage: str) -> str:
    """The kind of work that a stage does."""
    name = stage.partition("@")[0]
    return KINDS.get(name, name)


def units(stage: str, settings: Params) -> int:
    """How many units of its work a stage has: languages, conditions or variants; most have one."""
    validated = settings.validate
    return {
        "score": len(settings.languages),
        "validate": sum(len(validated.ops_of(one)) for one in validated.sets)
        + len(validated.direction_ops) * len(validated.directions),
        "evaluate": 1 + len(settings.train.methods),
    }.get(stage.partition("@")[0], 1)
