"""The cells of a frontier: the training runs of the plan, and the name of each result, a hash of everything that decides it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from ssn_eval.core import files, store
from ssn_eval.core.errors import EmptySetError, MissingInputError, ParamsError
from ssn_eval.core.methods import Method
from ssn_eval.core.params import ORGANISM, Params
from ssn_eval.core.setnames import SetName
from ssn_eval.core.settings import TrainParams
from ssn_eval.core.sweep import RANDOM, Cell, Scenario, plan
from ssn_eval.models import loading
from ssn_eval.models.loading import ModelSpec
from ssn_eval.stages.frontier.again import Again
from ssn_eval.stages.frontier.yardstick import HeldOut

FORMAT = "ssn-frontier-cell/1"


class Run(NamedTuple):
    """The pipeline's artefacts of one seed."""

    seed: int
    folder: Path

    @property
    def weights(self) -> Path:
        """The organism; a real model lies elsewhere."""
        return self.folder / "artifacts" / "model" / "weights"

    @property
    def spec(self) -> ModelSpec:
        """The model that the cells train.

        Raises:
            MissingInputError: the first stage has not run.
        """
        if (self.weights / "config.json").is_file():
            return ModelSpec(str(self.weights), dtype="float32")
        return loading.read_spec(self.folder / "artifacts" / "model" / "spec.json")

    @property
    def prompts(self) -> Path:
        """The prompts with their splits."""
        return self.folder / "artifacts" / "prompts.jsonl"

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
    heldout: HeldOut | None = None
    """the prompts that measure a real model; the organism has its own questions"""
    again: Again | None = None
    """how the set is found again and suppressed, if `frontier.robustness` asks for it"""
    hr: str = "en"

    def key(self, hashes: Mapping[str, str]) -> str:
        """The name of the result: a hash of everything that decides it. The contents of files count, their paths do not."""
        value = {
            "format": FORMAT,
            "cell": self.cell._asdict() | {"seed": None},
            "method": self.method.recorded(),
            "lr": self.lr,
            "settings": self.settings.recorded(),
            "steps": self.steps,
            "every": self.every,
            "inputs": dict(hashes),
        }
        if self.hr != "en":
            value["hr"] = self.hr
        if self.heldout is not None:
            value["measured"] = self.heldout.to_json()
        if self.again is not None:
            value["again"] = self.again.to_json()
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
        found = (run.weights / "config.json").is_file() or (run.folder / "artifacts/model/spec.json").is_file()
        for path, is_there in ((run.weights / "config.json", found), (run.pairs, run.pairs.is_file())):
            if not is_there:
                raise MissingInputError(f"{path} is not there; run `ssn frontier` without --as-is, or `ssn claims`.")
    heldout = {
        seed: None
        if settings.model == ORGANISM
        else HeldOut.of(run.prompts, settings.languages, settings.evaluate, frontier.every)
        for seed, run in runs.items()
    }
    again = {seed: Again.of(run.prompts, settings) for seed, run in runs.items()}
    for cell in plan(frontier, folders):
        method = settings.method(cell.method)
        yield Task(
            runs[cell.seed],
            cell,
            method,
            method.learning_rate(settings.train) * cell.factor,
            _train(settings.train, frontier.scenarios[cell.scenario], frontier.steps[-1], cell.seed),
            frontier.steps,
            frontier.every,
            heldout[cell.seed],
            again[cell.seed],
            settings.hr,
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
    single = run.weights / "model.safetensors"
    weights = files.sha256(single) if single.is_file() else loading.weights_hash(loading.locate(run.spec))
    return {"weights": weights, "pairs": files.sha256(run.pairs)}


def inputs(task: Task, common: Mapping[str, str]) -> dict[str, str]:
    """The hashes of the files that a cell reads.

    Raises:
        MissingInputError, EmptySetError: its set is not there, or holds no neuron.
    """
    if not task.method.set:
        return dict(common)
    name, _ = set_and_control(task)
    path = task.run.neurons(name)
    if not path.is_file():
        raise MissingInputError(f"The method {task.cell.method} trains the set {name}, but {path} is not there.")
    neurons = store.load_neurons(path).neurons
    if not neurons:
        raise EmptySetError(
            f"The method {task.cell.method} trains the set {name}, which is empty in {path}; use a larger select.p, or leave "
            f"{task.cell.method} out of frontier.methods."
        )
    return {**common, "neurons": hashlib.sha256(repr(sorted(neurons)).encode()).hexdigest()}
