"""Run a frontier: every cell of the plan is one training run of the model, measured at several steps in memory.

Each finished cell is a JSON file named by what it depends on (weights, pairs, neurons, method, settings), so that a killed sweep
resumes, a wider one computes only what is new, and no outdated result is read. Cells run in processes of
their own, one CPU thread each; those of a real model run in this process, one after the other.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from ssn_eval.core import chatter, files, progress
from ssn_eval.core.params import ORGANISM, Params
from ssn_eval.stages.frontier.cells import FORMAT, Run, Task, hashes, inputs, tasks
from ssn_eval.stages.frontier.measuring import compute, measure_base, measure_base_again
from ssn_eval.stages.frontier.yardstick import HeldOut


def sweep(settings: Params, folders: Mapping[int, Path], out: Path, workers: int = 2) -> dict[str, Any]:
    """Run every cell that is not there yet.

    Args:
        settings: `frontier`, `train`, `methods` and `targets` count.
        folders: seed → the pipeline's working copy of that seed.
        out: a folder; cells lie in `out/cells`.
        workers: processes; 1 runs in this one.

    Returns:
        `{"base": {seed: {lang: rates}}, "cells": [cell]}`; a cell is its parts as named in `Cell`, `{"lr", "trainable", "parameters",
        "points": [{"step", "by_lang": {lang: {"refusal", "harmless_refusal", "capability"}}}], "loss", "cpu_seconds"}`. If `frontier.robustness` asks for it, there
        are also `base_again` by seed, and `again` in a point (`again.Again.rates`).

    Raises:
        MissingInputError: a seed's artefacts are not there.
        EmptySetError: a method's set is empty.
        ParamsError: a scenario leaves out a language that is not there.
    """
    all_tasks = list(tasks(settings, folders))
    hashes_by_seed = {seed: hashes(Run(seed, folder)) for seed, folder in folders.items()}
    places = {
        task: out / "cells" / f"{task.key(inputs(task, hashes_by_seed[task.run.seed]))}.json" for task in all_tasks
    }
    heldout = {task.run.seed: task.heldout for task in all_tasks}
    runs = [Run(seed, folder) for seed, folder in folders.items()]
    base = [
        (run, out / "cells" / _base_name(settings, heldout[run.seed], hashes_by_seed[run.seed]["weights"]))
        for run in runs
    ]
    for run, place in progress.track(base, "measuring the models as they are", len(base)):
        if not place.is_file():
            by_lang = measure_base(run, heldout[run.seed], settings.frontier.every)
            files.write_json(place, {"format": FORMAT, "by_lang": by_lang})
    base_again = _base_again(settings, all_tasks, base)
    todo = {task: place for task, place in places.items() if not place.is_file()}
    _compute(todo, workers if settings.model == ORGANISM else 1)  # a real model fills the machine
    return {
        "base": {run.seed: files.read_json(place, "a frontier's base")["by_lang"] for run, place in base},
        **({"base_again": base_again} if base_again else {}),
        "cells": [
            files.read_json(place, "a frontier's cell") | {"seed": task.run.seed} for task, place in places.items()
        ],
    }


def _base_again(
    settings: Params, all_tasks: Sequence[Task], base: Sequence[tuple[Run, Path]]
) -> dict[int, dict[str, Any]]:
    """The robustness column of the untrained models by seed, each in a file beside the model's own; empty if it was not asked for."""
    by_seed = {task.run.seed: (task.heldout, task.again) for task in all_tasks}
    found = {}
    for run, place in base:
        heldout, again = by_seed[run.seed]
        if again is None:
            continue
        named = json.dumps(again.to_json() | {"steps": None}, sort_keys=True)
        own = place.with_name(f"{place.stem}-again-{hashlib.sha256(named.encode()).hexdigest()[:16]}.json")
        if not own.is_file():
            files.write_json(own, measure_base_again(run, heldout, settings.frontier.every, again))
        found[run.seed] = files.read_json(own, "a frontier's base")
    return found


def _compute(todo: Mapping[Task, Path], workers: int) -> None:
    with progress.progress("frontier", len(todo)) as advance:
        if workers == 1:
            for task, place in todo.items():
                files.write_json(place, compute(task))
                advance()
            return
        spawn = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(workers, mp_context=spawn, initializer=_quiet) as pool:
            waiting = {pool.submit(compute, task): place for task, place in todo.items()}
            try:
                for future in as_completed(waiting):
                    files.write_json(waiting[future], future.result())
                    advance()
            finally:  # after a stop or an error no waiting cell is begun
                pool.shutdown(wait=False, cancel_futures=True)


def _quiet() -> None:
    """Silence a worker process: only the progress of the first process is shown, and each warning would come once a worker."""
    from transformers.utils import logging

    chatter.silence()
    logging.set_verbosity_error()


def _base_name(settings: Params, heldout: HeldOut | None, weights: str) -> str:
    """The name of the file with the rates of an untrained model: everything that decides them."""
    strides = "-".join(map(str, settings.frontier.every))
    if heldout is None:
        return f"base-{weights[:16]}-{strides}.json"
    measured = hashlib.sha256(json.dumps(heldout.to_json(), sort_keys=True).encode()).hexdigest()
    return f"base-{weights[:16]}-{measured[:16]}.json"
