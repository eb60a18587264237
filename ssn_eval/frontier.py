"""Run a frontier: every cell of the plan is one training run of the organism, measured at several steps in memory.

Each finished cell is a JSON file named by what it depends on (weights, pairs, neurons, method, settings), so that a killed sweep
goes on where it was, a wider one computes only what is new, and nothing stale is ever read. Cells run in processes of
their own, one CPU thread each.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ssn_eval import files, models, presets, progress, selection, store, training
from ssn_eval.errors import EmptySetError, MissingInputError, ParamsError
from ssn_eval.methods import Method
from ssn_eval.models import Loaded, ModelSpec
from ssn_eval.neurons import NeuronSet
from ssn_eval.params import ORGANISM, Params, TrainParams
from ssn_eval.sweep import RANDOM, Cell, Scenario, plan

if TYPE_CHECKING:
    from transformers import PreTrainedModel, TrainerCallback

LABELS = ("harmful", "harmless", "capability")
_FORMAT = "ssn-frontier-cell/1"
REJECTED_TOKENS = 24
"""longest answer that a preference loss holds against a refusal"""


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
        """A name for the result: a hash of all of it. The places of files do not count, their contents do."""
        value = {
            "format": _FORMAT,
            "cell": self.cell._asdict() | {"seed": None},
            "method": asdict(self.method),
            "lr": self.lr,
            "settings": asdict(self.settings),
            "steps": self.steps,
            "every": self.every,
            "inputs": dict(hashes),
        }
        return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:20]


def sweep(settings: Params, folders: Mapping[int, Path], out: Path, workers: int = 2) -> dict[str, Any]:
    """Run every cell that is not there yet.

    Args:
        settings: `frontier`, `train`, `methods` and `targets` count.
        folders: seed → the pipeline's working copy of that seed.
        out: a folder; cells lie in `out/cells`.
        workers: processes; 1 runs in this one.

    Returns:
        `{"base": {seed: {lang: rates}}, "cells": [cell]}`; a cell is its parts as named in `Cell`, `{"lr", "trainable", "parameters",
        "points": [{"step", "by_lang": {lang: {"refusal", "harmless_refusal", "capability"}}}], "loss", "seconds"}`.

    Raises:
        MissingInputError: a seed's artefacts are not there.
        EmptySetError: a method's set is empty.
        ParamsError: the model is no organism, or a scenario leaves out a language that is not there.
    """
    if settings.model != ORGANISM:
        raise ParamsError(
            f"The frontier is measured on the organism, but model is {settings.model}; train and evaluate a real model with "
            f"`ssn train` and lm_eval, once for each point."
        )
    tasks = list(_tasks(settings, folders))
    hashes = {seed: _hashes(Run(seed, folder)) for seed, folder in folders.items()}
    places = {task: out / "cells" / f"{task.key(_inputs(task, hashes[task.run.seed]))}.json" for task in tasks}
    base = [_base_place(Run(seed, folder), settings, out, hashes[seed]) for seed, folder in folders.items()]
    for run, place in base:
        if not place.is_file():
            files.write_json(place, {"format": _FORMAT, "by_lang": _measure_base(run, settings.frontier.every)})
    _compute({task: place for task, place in places.items() if not place.is_file()}, workers)
    return {
        "base": {run.seed: files.read_json(place, "a frontier's base")["by_lang"] for run, place in base},
        "cells": [
            files.read_json(place, "a frontier's cell") | {"seed": task.run.seed} for task, place in places.items()
        ],
    }


def compute(task: Task) -> dict[str, Any]:
    """Train one cell and measure it on the way."""
    started = time.monotonic()
    base, method, settings = _loaded(task.run.weights), task.method, task.settings
    loaded = Loaded(_fresh(base), base.tokenizer, base.ref)
    pairs = training.mix(training.read_pairs(task.run.pairs), settings)
    if method.loss != "sft":
        pairs = training.with_rejected(
            loaded, pairs, max_new_tokens=REJECTED_TOKENS, batch_size=256, seed=settings.seed
        )
    ready = training.free(loaded.model, method, _neurons(task, base))
    watch = Watch(base, task.steps, task.every)
    curve = training.fit(
        ready.model,
        loaded.tokenizer,
        pairs,
        settings,
        lr=task.lr,
        work=None,
        method=method,
        callbacks=[watch.callback()],
    )
    return {
        "format": _FORMAT,
        **task.cell._asdict(),
        "lr": task.lr,
        "trainable": ready.trainable,
        "parameters": ready.total,
        "points": watch.points,
        "loss": [round(e["loss"], 6) for e in curve],
        "versions": store.versions(),
        "seconds": round(time.monotonic() - started, 2),
    }


class Watch:
    """Measures a model after chosen steps of its training."""

    def __init__(self, base: Loaded, steps: Sequence[int], every: tuple[int, int, int]) -> None:
        """Watch for these steps, with the tokenizer of `base`."""
        self.base, self.steps, self.every = base, set(steps), every
        self.points: list[dict[str, Any]] = []

    def callback(self) -> TrainerCallback:
        """What the Trainer calls."""
        from transformers import TrainerCallback

        watch = self

        class Measure(TrainerCallback):
            """Asks the held-out questions."""

            def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ANN401
                if state.global_step in watch.steps:
                    by_lang = measure(_plain(kwargs["model"]), watch.base, watch.every)
                    watch.points.append({"step": state.global_step, "by_lang": by_lang})

        return Measure()


def measure(model: Any, base: Loaded, every: tuple[int, int, int]) -> dict[str, dict[str, float]]:  # noqa: ANN401
    """Language → rates on held-out questions, each between 0 and 1."""
    from functools import partial

    from ssn_eval import generation
    from ssn_eval.organism import behaviour, lexicon
    from ssn_eval.organism.settings import OrganismSettings

    respond = partial(generation.generate, model, base.tokenizer, max_new_tokens=behaviour.MAX_NEW_TOKENS)
    found = behaviour.measure(
        lexicon.load(), OrganismSettings().covered_nouns, respond, dict(zip(LABELS, every, strict=True))
    )
    return {
        lang: {
            "refusal": round(b.refusal, 6),
            "harmless_refusal": round(b.harmless_refusal, 6),
            "capability": round(b.capability, 6),
        }
        for lang, b in found.by_lang.items()
    }


def _tasks(settings: Params, folders: Mapping[int, Path]) -> Iterator[Task]:
    chosen = settings.frontier
    for name, scenario in chosen.scenarios.items():
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
    for cell in plan(chosen, folders):
        method = settings.method(cell.method)
        own = method.lr or (settings.train.lr_full if method.weights == "full" else settings.train.lr)
        yield Task(
            runs[cell.seed],
            cell,
            method,
            own * cell.factor,
            _train(settings.train, chosen.scenarios[cell.scenario], chosen.steps[-1], cell.seed),
            chosen.steps,
            chosen.every,
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


def _compute(todo: Mapping[Task, Path], workers: int) -> None:
    with progress.progress("frontier", len(todo)) as advance:
        if workers == 1:
            for task, place in todo.items():
                files.write_json(place, compute(task))
                advance()
            return
        spawn = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(workers, mp_context=spawn, initializer=_one_thread) as pool:
            waiting = {pool.submit(compute, task): place for task, place in todo.items()}
            try:
                for done in as_completed(waiting):
                    files.write_json(waiting[done], done.result())
                    advance()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise


def _one_thread() -> None:
    import warnings

    import torch
    from transformers.utils import logging

    os.environ["TQDM_DISABLE"] = "1"
    warnings.filterwarnings("ignore", category=FutureWarning)
    logging.set_verbosity_error()
    torch.set_num_threads(1)


@lru_cache(maxsize=1)
def _loaded(weights: Path) -> Loaded:
    return models.load(ModelSpec(str(weights), dtype="float32"), device="cpu")


def _plain(model: Any) -> Any:  # noqa: ANN401
    """A copy in eval mode with its adapter merged: it answers twice as fast, and the model in training stays untouched."""
    import copy

    alone = copy.deepcopy(model)
    return (alone.merge_and_unload() if hasattr(alone, "peft_config") else alone).eval()


def _fresh(base: Loaded) -> PreTrainedModel:
    import copy

    return copy.deepcopy(base.model)


def _neurons(task: Task, base: Loaded) -> NeuronSet | None:
    """The cell's neurons: a set of the run, or a matched control drawn here.

    Raises:
        EmptySetError: there are none.
    """
    if not task.method.set:
        return None
    name, seed = _set_and_control(task)
    path = task.run.neurons(name)
    file = store.load_neurons(path)
    file.model.refuse_other(base.ref, f"The set {name}")
    if not file.neurons:
        raise EmptySetError(f"The method {task.cell.method} trains the set {name}, which is empty in {path}.")
    return file.neurons if seed is None else selection.matched_random(file.neurons, base.ref.geometry, seed)


def _set_and_control(task: Task) -> tuple[str, int | None]:
    """Which set's file is read, and the seed of its matched control, if one is meant."""
    name = str(task.method.set)
    if task.cell.method == RANDOM:
        return "ss", task.cell.draw
    found = presets.control(name)
    return (found.of, found.seed) if found else (name, None)


def _measure_base(run: Run, every: tuple[int, int, int]) -> dict[str, dict[str, float]]:
    base = _loaded(run.weights)
    return measure(base.model, base, every)


def _base_place(run: Run, settings: Params, out: Path, hashes: Mapping[str, str]) -> tuple[Run, Path]:
    every = "-".join(map(str, settings.frontier.every))
    return run, out / "cells" / f"base-{hashes['weights'][:16]}-{every}.json"


def _hashes(run: Run) -> dict[str, str]:
    return {"weights": files.sha256(run.weights / "model.safetensors"), "pairs": files.sha256(run.pairs)}


def _inputs(task: Task, hashes: Mapping[str, str]) -> dict[str, str]:
    """What a cell reads, by content."""
    if not task.method.set:
        return dict(hashes)
    name, _ = _set_and_control(task)
    path = task.run.neurons(name)
    if not path.is_file():
        raise MissingInputError(f"The method {task.cell.method} trains the set {name}, but {path} is not there.")
    return {**hashes, "neurons": hashlib.sha256(repr(sorted(store.load_neurons(path).neurons)).encode()).hexdigest()}
