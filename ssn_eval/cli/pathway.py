"""`ssn pathway`: the neurons of a set that act together with others of the next layer."""

from __future__ import annotations

from pathlib import Path

import click

from ssn_eval.cli.loading import ModelOptions, model_options
from ssn_eval.cli.options import BATCH_SIZE
from ssn_eval.cli.output import FILE, JSON, emit


@click.command()
@model_options(required=True)
@click.option("--neurons", "neuron_file", required=True, type=FILE, help="A neuron set of this model, for example ms.")
@click.option(
    "--prompts",
    "prompt_file",
    required=True,
    type=FILE,
    help="Prompts of both labels with `response`: refusals and benign answers (`ssn pairs` writes them).",
)
@click.option("--lang", default="en", show_default=True, help="Language code.")
@click.option("--propagation", is_flag=True, help="Edges of propagation too: a pass over 50 prompts for every neuron.")
@BATCH_SIZE
@click.option("--limit", type=click.IntRange(2), help="The largest number of prompts of each label, drawn at random.")
@click.option("--seed", default=0, show_default=True, help="Seed of that draw, of permutations and of random neurons.")
@click.option("--out", required=True, type=FILE, help="The neurons that are kept (.json or .safetensors).")
@JSON
def pathway(
    model: ModelOptions,
    neuron_file: Path,
    prompt_file: Path,
    lang: str,
    propagation: bool,
    batch_size: int,
    limit: int | None,
    seed: int,
    out: Path,
    as_json: bool,
) -> None:
    """Keep the neurons of a set that lie on a safety pathway (arXiv 2608.09095).

    A neuron stays if it acts together with a neuron of a neighbouring layer that is in the set too. Two pathways of two languages
    share what ssn combine says.

    Example: ssn pathway --model Qwen/Qwen3-8B --neurons found/sets/ss.json --prompts pairs.jsonl --lang en --out pathway.json
    """
    from ssn_eval.core import store
    from ssn_eval.core.errors import EmptySetError
    from ssn_eval.core.origin import versions
    from ssn_eval.core.store import NeuronFile
    from ssn_eval.identification import acting
    from ssn_eval.identification import pathway as pathways
    from ssn_eval.models import lineage
    from ssn_eval.prompts.encoding import subsample
    from ssn_eval.prompts.reading import read_one_language

    file = store.load_neurons(neuron_file)
    harmful, harmless = (
        subsample(read_one_language(prompt_file, lang, label), limit, seed) for label in ("harmful", "harmless")
    )
    loaded = model.load()
    lineage.refuse_other(file.model, loaded.ref, lineage.bases(Path(model.spec().pretrained)), f"The set {neuron_file}")
    kinds = {
        "co_activation": acting.co_activating(loaded, file.neurons, harmful, harmless, batch_size=batch_size, seed=seed)
    }
    if propagation:
        kinds["propagation"] = acting.propagating(
            loaded, file.neurons, harmful, harmless, batch_size=batch_size, seed=seed
        )
    kept = pathways.endpoints([edge for edges in kinds.values() for edge in edges])
    counts = pathways.counts(file.neurons, kinds)
    if not kept:
        raise EmptySetError(
            f"No two of the {len(file.neurons)} neurons act together on {len(harmful)} harmful prompts, so there is no pathway; use a larger "
            f"set (ms, a larger p) or more prompts{'' if propagation else ', or add --propagation'}."
        )
    origin = {
        "filter": "pathway",
        "lang": lang,
        "pathway": counts,
        "set": dict(file.provenance),
        "versions": versions(),
    }
    store.save_neurons(out, NeuronFile(kept, file.model, {**origin, "seed": seed}))
    sentence = f"{len(kept)} of {len(file.neurons)} neurons lie on a pathway → {out}"
    emit({"out": out.as_posix(), "neurons": len(kept), **counts}, as_json, sentence)
