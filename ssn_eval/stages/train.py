"""Stage 6: train by one method. METHOD MODEL PAIRS SETS OUT SUMMARY."""

from __future__ import annotations

from pathlib import Path

from ssn_eval import adapters, files, models, store, training
from ssn_eval.errors import EmptySetError, UnknownNameError
from ssn_eval.params import Params
from ssn_eval.stages.common import need, provenance, run

SET_OF_METHOD = {"ssn": "ss", "ms_hr": "ms_hr", "private": "private", "random": "random_0"}
"""which named set each neuron-LoRA method trains; `full` trains every weight"""


def main(settings: Params, method: Path, model: Path, pairs_file: Path, sets: Path, out: Path, summary: Path) -> None:
    """Write the adapter (or the full checkpoint) and `{"method", "trainable", "parameters", "loss"}`."""
    name = method.name
    if name not in SET_OF_METHOD and name != "full":
        raise UnknownNameError("training method", name, [*SET_OF_METHOD, "full"])
    pairs = training.mix(training.read_pairs(need(pairs_file, "prompts")), settings.train)
    loaded = models.load(models.read_spec(need(model, "organism") / "spec.json"))
    made = provenance(settings, pairs=pairs_file) | {"method": name, "seed": settings.train.seed}
    work = out.parent / f".work-{name}"
    total = loaded.model.num_parameters()
    if name == "full":
        curve = training.fit(
            loaded.model, loaded.tokenizer, pairs, settings.train, lr=settings.train.lr_full, work=work
        )
        with files.atomic(out) as folder:
            loaded.model.save_pretrained(folder)
            loaded.tokenizer.save_pretrained(folder)
            files.write_json(folder / adapters.PROVENANCE, {"base": loaded.ref.to_json(), "provenance": made})
        trainable = total
    else:
        chosen = store.load_neurons(need(sets, "select") / f"{SET_OF_METHOD[name]}.json") if _has(sets, name) else None
        if chosen is None or not chosen.neurons:
            raise EmptySetError(
                f"The method {name} trains the set {SET_OF_METHOD[name]}, which is empty; use a larger select.p."
            )
        chosen.model.refuse_other(loaded.ref, f"The set {SET_OF_METHOD[name]}")
        tuned = adapters.build(loaded.model, chosen.neurons)
        trainable, _ = adapters.trainable_parameters(tuned)
        curve = training.fit(tuned, loaded.tokenizer, pairs, settings.train, lr=settings.train.lr, work=work)
        adapters.save(tuned, out, loaded.ref, made | {"set": SET_OF_METHOD[name], "neurons": chosen.neurons.by_key()})
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


def _has(sets: Path, method: str) -> bool:
    return (need(sets, "select") / f"{SET_OF_METHOD[method]}.json").is_file()


if __name__ == "__main__":
    run(main)
