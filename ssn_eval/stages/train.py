"""Stage 6: train by one method. METHOD MODEL PAIRS SETS OUT SUMMARY."""

from __future__ import annotations

import sys
from pathlib import Path

from ssn_eval.core import files, store
from ssn_eval.core.errors import EmptySetError
from ssn_eval.core.params import Params
from ssn_eval.core.setnames import SetName
from ssn_eval.core.store import NeuronFile
from ssn_eval.models import loading
from ssn_eval.prompts.pairs import read_pairs
from ssn_eval.stages.common import need, provenance, run_stage
from ssn_eval.training.run import Answering, train


def main(settings: Params, method: Path, model: Path, pairs_file: Path, sets: Path, out: Path, summary: Path) -> None:
    """Write the adapter (or the full checkpoint) and `{"method", "trainable", "parameters", "loss", "leave_out"}`."""
    name = method.name
    row = settings.method(name)
    options = settings.training(name)
    pairs = read_pairs(need(pairs_file, "prompts"))
    neurons = _neurons(need(sets, "select") / f"{row.set}.json", name, row.set) if row.set else None
    loaded = loading.load(loading.read_spec(need(model, "organism") / "spec.json"))
    origin = provenance(settings, pairs=pairs_file) | {"method": name, "seed": options.seed}
    origin |= {"set": row.set} if row.set else {}
    trained = train(
        loaded,
        row,
        neurons,
        pairs,
        options,
        out=out,
        provenance=origin,
        hr=settings.hr,
        work=out.parent / f".work-{name}",
        answering=Answering(settings.prompts.replay_tokens),
        say=lambda line: print(line, file=sys.stderr),
    )
    files.write_json(
        summary, {"method": name, **trained.summary, "leave_out": list(options.leave_out), "provenance": origin}
    )


def _neurons(path: Path, method: str, trained: str) -> NeuronFile:
    """The set that a method trains.

    Raises:
        MissingInputError: `select` did not make it, and was not asked to.
        EmptySetError: it holds no neuron.
    """
    if not SetName.parse(trained).may_be_missing:
        need(path, "select")
    if not path.is_file() or not (file := store.load_neurons(path)).neurons:
        raise EmptySetError(f"The method {method} trains the set {trained}, which is empty; use a larger select.p.")
    return file


if __name__ == "__main__":
    run_stage(main)
