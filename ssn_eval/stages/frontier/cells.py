"""The cells of a frontier: the training runs of the plan, and the name of each result, a hash of everything that decides it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import NamedTuple

from ssn_eval.core import files, store
from ssn_eval.core.errors import MissingInputError, ParamsError
from ssn_eval.core.methods import Method
from ssn_eval.core.params import Params
from ssn_eval.core.setnames import SetName
from ssn_eval.core.settings import TrainParams
from ssn_eval.core.sweep import RANDOM, Cell, Scenario, plan

FORMAT = "ssn-frontier-cell/1"


class Run(NamedTuple):
    """The pipeline's artefacts of one seed."""

    seed: int
    folder: Path

    @property
    def weights(self) -> Path:
        """The organism."""
        return self.folder / "artifacts" / "model" / "weights"

    @property
    def pairs(self) -> Path:
        """Training pairs."""
        return self.folder / "artifacts" / "pairs.jsonl"

    def neurons(self, name: str) -> Path:
        """A neuron set."""
        return self.folder / "artifacts" / "sets" / f"{name}.json"


class Task(NamedTuple):
    """Everything that decides a cell's result."""

    run: Run
    cell: Cell
    method: Method
    lr: float
    settings: TrainParams
    steps: tuple[int, ...]
    every: tuple[int, int, int]

    def key(self, hashes: Mapping[str, str]) -> str:
        """The name of the result: a hash of everything that decides it. The contents of files count, their paths do not."""
        value = {
            "format": FORMAT,
            "cell": self.cell._asdict() | {"seed": None},
            "method": asdict(self.method),
            "lr": self.lr,
            "settings": asdict(self.settings),
            "steps": self.steps,
            "every": self.every,
            "inputs": dict(hashes),
        }
        return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:20]


def tasks(settings: Params, folders: Mapping[int, Path]) -> Iterator[Task]:
    """Every cell of the plan as a task.

    Raises:
        MissingInputError: a seed's artefacts are not there.
        ParamsError: a scenario leaves out a language that is not there.
    """
    frontier = settings.frontier
    for name, scenario in frontier.scenarios.items():
        if scenario.leave_out and scenario.leave_out not in settings.nhr:
            raise ParamsError(
                f"frontier.scenarios.{name} leaves out {scenario.leave_out}, which is not among the languages beside HR: "
                f"{', '.join(settings.nhr)}."
            )
    runs = {seed: Run(seed, folder) for seed, folder in folders.items()}
    for run in runs.values():
        for path in (run.weights / "config.json", run.pairs):
            if not path.is_file():
                raise MissingInputError(f"{path} is not there; run `ssn frontier` without --as-is, or `ssn claims`.")
    for cell in plan(frontier, folders):
        method = settings.method(cell.method)
        method_lr = method.lr or (settings.train.lr_full if method.weights == "full" else settings.train.lr)
        yield Task(
            runs[cell.seed],
            cell,
            method,
            method_lr * cell.factor,
            _train(settings.train, frontier.scenarios[cell.scenario], frontier.steps[-1], cell.seed),
            frontier.steps,
            frontier.every,
        )


def _train(settings: TrainParams, scenario: Scenario, steps: int, seed: int) -> TrainParams:
    """The run's settings: constant learning rate, so that a shorter run is the beginning of a longer one."""
    return replace(
        settings,
        seed=seed,
        steps=steps,
        schedule="constant",
        warmup_ratio=0.0,
        pairs=settings.pairs if scenario.pairs is None else scenario.pairs,
        replay=settings.replay if scenario.replay is None else scenario.replay,
        leave_out=(scenario.leave_out,) if scenario.leave_out else (),
    )


def set_and_control(task: Task) -> tuple[str, int | None]:
    """The set whose file is read, and the seed of its matched control if the cell trains one."""
    name = str(task.method.set)
    if task.cell.method == RANDOM:
        return "ss", task.cell.draw
    set_name = SetName.parse(name)
    return (set_name.of, set_name.seed) if set_name.base else (name, None)


def hashes(run: Run) -> dict[str, str]:
    """The hashes of the files that every cell of a seed reads."""
    return {"weights": files.sha256(run.weights / "model.safetensors"), "pairs": files.sha256(run.pairs)}


def inputs(task: Task, common: Mapping[str, str]) -> dict[str, str]:
    """The hashes of the files that a cell reads."""
    if not task.method.set:
        return dict(common)
    name, _ = set_and_control(task)
    path = task.run.neurons(name)
    if not path.is_file():
        raise MissingInputError(f"The method {task.cell.method} trains the set {name}, but {path} is not there.")
    return {**common, "neurons": hashlib.sha256(repr(sorted(store.load_neurons(path).neurons)).encode()).hexdigest()}
