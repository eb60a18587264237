"""Stage 6: train by one method. METHOD MODEL PAIRS SETS OUT SUMMARY."""

from __future__ import annotations

from pathlib import Path

from ssn_eval import adapters, files, models, presets, store, training
from ssn_eval.errors import EmptySetError
from ssn_eval.params import Params
from ssn_eval.stages.common import need, provenance, run
from ssn_eval.store import NeuronFile


def main(settings: Params, method: Path, model: Path, pairs_file: Path, sets: Path, out: Path, summary: Path) -> None:
    """Write the adapter (or the full checkpoint) and `{"method", "trainable", "parameters", "loss"}`."""
    name = presets.check_method(method.name, settings.targets)
    pairs = training.mix(training.read_pairs(need(pairs_file, "prompts")), settings.train)
    loaded = models.load(models.read_spec(need(model, "organism") / "spec.json"))
    made = provenance(settings, pairs=pairs_file) | {"method": name, "seed": settings.train.seed}
    work = out.parent / f".work-{name}"
    total = loaded.model.num_parameters()
    if name == presets.FULL:
        curve = training.fit(
            loaded.model, loaded.tokenizer, pairs, settings.train, lr=settings.train.lr_full, work=work
        )
        with files.atomic(out) as folder:
            loaded.model.save_pretrained(folder)
            loaded.tokenizer.save_pretrained(folder)
            files.write_json(folder / adapters.PROVENANCE, {"base": loaded.ref.to_json(), "provenance": made})
        trainable = total
    else:
        trained = presets.set_of(name)
        chosen = _neurons(need(sets, "select") / f"{trained}.json", name, trained)
        chosen.model.refuse_other(loaded.ref, f"The set {trained}")
        tuned = adapters.build(loaded.model, chosen.neurons)
        trainable, _ = adapters.trainable_parameters(tuned)
        curve = training.fit(tuned, loaded.tokenizer, pairs, settings.train, lr=settings.train.lr, work=work)
        adapters.save(tuned, out, loaded.ref, made | {"set": trained, "neurons": chosen.neurons.by_key()})
    files.write_json(
        summary,
        {
            "method": name,
            "trainable": trainable,
            "parameters": total,
            "pairs": len(pairs),
            "loss": curve,
            "provenance": made,
        },
    )


def _neurons(path: Path, method: str, trained: str) -> NeuronFile:
    """The set that a method trains.

    Raises:
        MissingInputError: `select` did not make it, and was not asked to.
        EmptySetError: it holds no neuron.
    """
    if not presets.may_be_missing(trained):
        need(path, "select")
    if not path.is_file() or not (chosen := store.load_neurons(path)).neurons:
        raise EmptySetError(f"The method {method} trains the set {trained}, which is empty; use a larger select.p.")
    return chosen


if __name__ == "__main__":
    run(main)
