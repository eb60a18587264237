"""One cell of a frontier: train a copy of the model in memory and measure it at chosen steps."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

from ssn_eval.core import origin, store
from ssn_eval.core.errors import EmptySetError
from ssn_eval.core.neurons import NeuronSet
from ssn_eval.identification import selection
from ssn_eval.models import loading
from ssn_eval.models.loading import Loaded
from ssn_eval.prompts.answers import with_rejected
from ssn_eval.prompts.pairs import mix, read_pairs
from ssn_eval.stages.frontier import yardstick
from ssn_eval.stages.frontier.again import Again
from ssn_eval.stages.frontier.cells import FORMAT, Run, Task, set_and_control
from ssn_eval.stages.frontier.yardstick import HeldOut, Rates
from ssn_eval.training import clusters as clustering
from ssn_eval.training.fit import fit
from ssn_eval.training.weights import free

if TYPE_CHECKING:
    from transformers import PreTrainedModel, TrainerCallback

REJECTED_TOKENS = 24
"""longest answer that a preference loss holds against a refusal"""


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute with one thread: rounding depends on the number of threads, and a cell must be the same in every process."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def compute(task: Task) -> dict[str, Any]:
    """Train one cell and measure it on the way; the organism with one thread."""
    with one_thread() if task.heldout is None else nullcontext():
        return _compute(task)


def _compute(task: Task) -> dict[str, Any]:
    started = time.process_time()
    base, method, settings = _loaded(task.run), task.method, task.settings
    loaded = Loaded(_fresh(base), base.tokenizer, base.ref)
    pairs = mix(read_pairs(task.run.pairs), settings)
    if method.needs_rejected:
        pairs = with_rejected(loaded, pairs, max_new_tokens=REJECTED_TOKENS, batch_size=256, seed=settings.seed)
    neurons = _neurons(task, base)
    clusters = clustering.of_method(loaded, method, neurons, pairs, settings)
    freed = free(loaded.model, method, neurons, clusters)
    watch = Watch(task.steps, _yardstick(base, task.heldout, task.every), _without(base, task))
    curve = fit(
        freed.model,
        loaded.tokenizer,
        pairs,
        settings,
        lr=task.lr,
        work=None,
        method=method,
        hr=task.hr,
        callbacks=[watch.callback()],
        neurons=neurons,
    )
    return {
        "format": FORMAT,
        **task.cell._asdict(),
        "lr": task.lr,
        "trainable": freed.trainable,
        "parameters": freed.total,
        "points": watch.points,
        "loss": [round(e["loss"], 6) for e in curve],
        "versions": origin.versions(),
        "cpu_seconds": round(time.process_time() - started, 2),
    }


def _yardstick(base: Loaded, heldout: HeldOut | None, every: tuple[int, int, int]) -> Callable[[Any], Rates]:
    """A function from a model in training to its rates; the model does not change."""
    if heldout is None:
        return lambda model: yardstick.organism(_plain(model), base, every)
    reference = heldout.reference(base)

    def rates(model: Any) -> Rates:
        was_training = model.training
        model.eval()
        try:
            return heldout.rates(model, base, reference)
        finally:
            model.train(was_training)

    return rates


def _without(base: Loaded, task: Task) -> Callable[[Any, int], dict[str, Any]]:
    """A function from a model in training and its step to what the robustness column needs; the model does not change."""
    again = task.again
    measure = cache(lambda: _of_plain(base, task.heldout, task.every))  # it generates the base's answers, once

    def measured(model: Any, step: int) -> dict[str, Any]:
        if again is None or step not in again.steps:
            return {}
        return {"again": again.rates(_plain(model), base, measure())}

    return measured


def _of_plain(base: Loaded, heldout: HeldOut | None, every: tuple[int, int, int]) -> Callable[[Any], Rates]:
    """A function from a model in eval mode, without an adapter, to its rates; its hooks stay."""
    if heldout is None:
        return lambda model: yardstick.organism(model, base, every)
    reference = heldout.reference(base)
    return lambda model: heldout.rates(model, base, reference)


class Watch:
    """Measures a model after chosen steps of its training."""

    def __init__(
        self,
        steps: Sequence[int],
        rates: Callable[[Any], Rates],
        more: Callable[[Any, int], dict[str, Any]] = lambda _model, _step: {},
    ) -> None:
        """Watch for these steps, and measure with `rates`; what `more` gives of the model and the step is added to a point."""
        self.steps, self.rates, self.more = set(steps), rates, more
        self.points: list[dict[str, Any]] = []

    def callback(self) -> TrainerCallback:
        """The callback for the Trainer."""
        from transformers import TrainerCallback

        watch = self

        class Measure(TrainerCallback):
            """Asks the held-out questions."""

            def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
                if state.global_step in watch.steps:
                    model, step = kwargs["model"], state.global_step
                    watch.points.append({"step": step, "by_lang": watch.rates(model), **watch.more(model, step)})

        return Measure()


def measure_base(run: Run, heldout: HeldOut | None, every: tuple[int, int, int]) -> Rates:
    """The model of a seed before any training."""
    base = _loaded(run)
    if heldout is not None:
        return heldout.rates(base.model, base, heldout.reference(base))
    with one_thread():
        return yardstick.organism(base.model, base, every)


def measure_base_again(run: Run, heldout: HeldOut | None, every: tuple[int, int, int], again: Again) -> dict[str, Any]:
    """What the robustness column says of the model of a seed before any training."""
    base = _loaded(run)
    with one_thread() if heldout is None else nullcontext():
        return again.rates(_fresh(base), base, _of_plain(base, heldout, every))


@lru_cache(maxsize=1)
def _loaded(run: Run) -> Loaded:
    is_organism = (run.weights / "config.json").is_file()
    return loading.load(run.spec, device="cpu" if is_organism else None)


def _plain(model: Any) -> Any:
    """A copy in eval mode with its adapter merged: it answers twice as fast, and the model in training does not change."""
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
    name, seed = set_and_control(task)
    path = task.run.neurons(name)
    file = store.load_neurons(path)
    file.model.refuse_other(base.ref, f"The set {name}")
    if not file.neurons:
        raise EmptySetError(f"The method {task.cell.method} trains the set {name}, which is empty in {path}.")
    return file.neurons if seed is None else selection.matched_random(file.neurons, base.ref.geometry, seed)
