"""Stage 6: train by one method. METHOD MODEL PAIRS SETS OUT SUMMARY."""

from __future__ import annotations

import sys
from pathlib import Path

from ssn_eval.core import files, store
from ssn_eval.core.params import Params
from ssn_eval.core.setnames import SetName
from ssn_eval.core.statistics import ends
from ssn_eval.core.store import NeuronFile
from ssn_eval.models import loading
from ssn_eval.prompts.pairs import read_pairs
from ssn_eval.stages.common import UNTRAINED, need, provenance, run_stage
from ssn_eval.training.run import Answering, train


def main(settings: Params, method: Path, model: Path, pairs_file: Path, sets: Path, out: Path, summary: Path) -> str:
    """Write the adapter (or the full checkpoint) and `{"method", "trainable", "parameters", "loss", "leave_out"}`.

    A method whose set is empty trains nothing; then both say why, as `{"untrained": sentence}`, and the other methods go on.

    Returns:
        How many parameters were trained, and the loss.
    """
    name = method.name
    row = settings.method(name)
    options = settings.training(name)
    pairs = read_pairs(need(pairs_file, "prompts"))
    neurons = _neurons(need(sets, "select") / f"{row.set}.json", row.set) if row.set else None
    if row.set and neurons is None:
        sentence = (
            f"the set {row.set} is empty, so {name} trains nothing; use a larger select.p, or leave {name} out of "
            f"train.methods"
        )
        with files.atomic(out) as folder:
            folder.mkdir()
            files.write_json(folder / UNTRAINED, {"untrained": sentence})
        files.write_json(summary, {"method": name, "untrained": sentence})
        return sentence
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
    share = trained.summary["trainable"] / trained.summary["parameters"]
    losses = [point["loss"] for point in trained.summary["loss"]]
    first, last = ends(losses) if losses else (float("nan"),) * 2
    return f"trained {100 * share:.2f} % of the parameters, loss {first:.2f} → {last:.2f}"


def _neurons(path: Path, name: str) -> NeuronFile | None:
    """The set that a method trains; None if it holds no neuron.

    Raises:
        MissingInputError: `select` did not make it, and was not asked to.
    """
    if not SetName.parse(name).may_be_missing:
        need(path, "select")
    file = store.load_neurons(path) if path.is_file() else None
    return file if file and file.neurons else None


if __name__ == "__main__":
    run_stage(main)
