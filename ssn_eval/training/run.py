"""From a loaded model to a trained model on disk; the pipeline's stage and `ssn train` both call this."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ssn_eval.core import files, processes
from ssn_eval.core.errors import ParamsError
from ssn_eval.core.methods import Method, method_for
from ssn_eval.core.origin import versions
from ssn_eval.core.settings import PromptParams, TrainParams
from ssn_eval.core.statistics import ends
from ssn_eval.core.store import NeuronFile
from ssn_eval.models import lineage
from ssn_eval.models.cards.weights import weights_card
from ssn_eval.models.loading import Loaded
from ssn_eval.prompts.answers import with_rejected
from ssn_eval.prompts.pairs import Pair, mix
from ssn_eval.prompts.prompt import LABELS
from ssn_eval.training import clusters as clustering
from ssn_eval.training.adapters.folder import save_adapter
from ssn_eval.training.fit import Fitted, fitted
from ssn_eval.training.weights import Free, free

if TYPE_CHECKING:
    import torch


class Trained(NamedTuple):
    """A trained model and its summary."""

    free: Free
    summary: dict[str, Any]
    """`trainable` and `parameters` (counts), `pairs` (how many), and `loss`, a list of `{"step", "loss"}`"""


class Answering(NamedTuple):
    """How the base model's rejected answers are generated."""

    max_new_tokens: int = PromptParams.replay_tokens
    batch_size: int = 64


ANSWERING = Answering()


def train(
    loaded: Loaded,
    method: Method | str,
    neurons: NeuronFile | None,
    pairs: Sequence[Pair],
    settings: TrainParams,
    *,
    out: Path,
    provenance: Mapping[str, Any] | None = None,
    hr: str = "en",
    work: Path | None = None,
    answering: Answering = ANSWERING,
    say: Callable[[str], None] = lambda _line: None,
) -> Trained:
    """Train by one method and save: an ordinary PEFT adapter if the base weights stay as they are, else a whole checkpoint.

    A killed run goes on from its last checkpoint when it is called again.

    Args:
        loaded: the base model; changed in place.
        method: which weights move, under which loss; or the name of a built-in method.
        neurons: the set, for the methods that use one.
        pairs: all there are; `settings` say how many are used, and which languages are left out.
        settings: the run's.
        out: the result's folder, replaced only once the new one is whole.
        provenance: how it was made, for the folder; by default the settings that are recorded anyway, and the versions.
        hr: the high-resource language.
        work: where checkpoints lie until then; a hidden folder beside `out` by default.
        answering: for preference losses.
        say: gets the memory estimate in one line, before the first step.

    Raises:
        SsnError: bad input of any kind; nothing is written then.
    """
    if provenance is None:
        provenance = {"method": str(method), "seed": settings.seed, "versions": versions()}
    if isinstance(method, str):
        method = method_for(method, has_neurons=neurons is not None)
    if method.uses_set and neurons:
        neurons.model.refuse_other(loaded.ref, "The neuron set")
    if method.masks_gradients and settings.weight_decay:
        raise ParamsError("Weight decay moves weights that the mask should hold; set train.weight_decay to 0.")
    mixed = mix(pairs, settings)
    if method.needs_rejected:
        mixed = with_rejected(
            loaded,
            mixed,
            max_new_tokens=answering.max_new_tokens,
            batch_size=answering.batch_size,
            seed=settings.seed,
        )
    chosen = neurons.neurons if neurons else None
    clusters = clustering.of_method(loaded, method, chosen, mixed, settings)
    freed = free(loaded.model, method, chosen, clusters)
    work = work or out.parent / f".work-{out.name}"
    lr = method.learning_rate(settings)
    done = fitted(
        *(freed.model, loaded.tokenizer, mixed, settings),
        lr=lr,
        work=work,
        method=method,
        hr=hr,
        masks=freed.masks,
        neurons=chosen,
        say=say,
    )
    origin = dict(provenance) | {
        "training": _told(method, settings, lr, hr, mixed, freed, done, loaded.template.to_json())
    }
    if method.uses_set and neurons:
        origin |= {"neurons": neurons.neurons.by_key(), "neuron_set": dict(neurons.provenance)}
    origin |= {"clusters": clusters} if clusters is not None else {}
    _on_first_process(lambda: _save(freed, loaded, out, work, origin, done.weights))
    summary = {"trainable": freed.trainable, "parameters": freed.total, "pairs": len(mixed), "loss": done.curve}
    summary |= _plan(done)
    return Trained(freed, summary)


def _told(
    method: Method,
    settings: TrainParams,
    lr: float,
    hr: str,
    pairs: Sequence[Pair],
    freed: Free,
    done: Fitted,
    template: Mapping[str, Any],
) -> dict[str, Any]:
    """The method, its data and its result, for `ssn.json` and the card."""
    counts = Counter((p.lang, p.label) for p in pairs)
    unused = {"methods", "lr", "lr_full", "pairs", "epochs" if settings.steps else "steps"}
    return {
        "method": {k: v for k, v in method.recorded().items() if v is not None},
        "settings": {k: v for k, v in settings.recorded().items() if k not in unused} | {"lr": lr, "hr": hr},
        "pairs": {
            lang: {label: counts[lang, label] for label in LABELS} for lang in dict.fromkeys(p.lang for p in pairs)
        },
        "trainable": freed.trainable,
        "parameters": freed.total,
        "template": template,
        "steps": done.curve[-1]["step"],
        "loss": list(ends([e["loss"] for e in done.curve])),
        **_plan(done),
    }


def _plan(done: Fitted) -> dict[str, Any]:
    """How the steps were computed, where that was not in one pass over the batch."""
    chosen = done.plan
    if chosen.is_plain:
        return {}
    return {"plan": {name: value for name, value in chosen.to_json().items() if name != "need"}}


def _save(
    freed: Free,
    loaded: Loaded,
    out: Path,
    work: Path,
    provenance: Mapping[str, Any],
    weights: dict[str, torch.Tensor] | None,
) -> None:
    model: Any = freed.model
    card = weights_card(loaded.ref, provenance, is_adapter=freed.is_adapter)
    if freed.is_adapter:
        save_adapter(model, out, loaded.ref, provenance, card, weights)
    else:
        with files.atomic(out) as folder:
            model.save_pretrained(folder, **({} if weights is None else {"state_dict": weights}))
            loaded.tokenizer.save_pretrained(folder)
            lineage.write(folder, lineage.CHECKPOINT, loaded.ref, provenance)
            files.write_text(folder / "README.md", card)
    shutil.rmtree(work, ignore_errors=True)


def _on_first_process(act: Any) -> None:
    """Under `accelerate launch` one process writes, and the others wait for it."""
    state = processes.state()
    state.wait_for_everyone()
    if state.is_main_process:
        act()
    state.wait_for_everyone()
