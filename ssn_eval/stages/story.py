"""The line that a stage ends with: which of how many it is, what it did, its time, and about how much time is left.

The time left is that of the later stages when they ran last in this folder. For a stage that has never run here it is estimated: from its
usual time (`_USUAL`), and from how fast this machine ran the stages before.
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
_USUAL: Mapping[str, Mapping[str, float]] = {}
"""seconds of a stage's unit of work (`_units`), of the organism and of a real model; only their ratios count"""


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
    later = names[place + 1 :]
    usual = {name: _usual(name, settings) for name in names}
    finished = [name for name in names[: place + 1] if name in seconds and usual[name]]
    expected = sum(usual[name] or 0 for name in finished)
    pace = sum(seconds[name] for name in finished) / expected if expected else None
    total = 0.0
    for name in later:
        if name in seconds:
            total += seconds[name]
        elif pace is not None and (own := usual[name]) is not None:
            total += own * pace
        else:
            return None
    return total


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


def percent(share: float | None) -> str:
    """A share as a whole percentage; a dash if it was not measured."""
    return "–" if share is None else f"{100 * share:.0f} %"


def _usual(stage: str, settings: Params) -> float | None:
    """The usual seconds of a stage with these settings; None for a stage that is not ours."""
    kind = "organism" if settings.model == ORGANISM else "real"
    name = stage.partition("@")[0]
    unit = _USUAL.get(kind, {}).get(name)
    return None if unit is None else unit * _units(name, settings)


def _units(name: str, settings: Params) -> int:
    """How many units of work a stage has: languages, conditions or variants; most have one."""
    validated = settings.validate
    return {
        "score": len(settings.languages),
        "validate": sum(len(validated.ops_of(one)) for one in validated.sets),
        "evaluate": 1 + len(settings.train.methods),
    }.get(name, 1)
