"""`ssn direction`: the refusal direction of a model, the baseline beside neurons."""

from __future__ import annotations

from pathlib import Path

import click

from ssn_eval.cli.loading import ModelOptions, model_options
from ssn_eval.cli.options import BATCH_SIZE
from ssn_eval.cli.output import FILE, JSON, emit


@click.command()
@model_options(required=True)
@click.option("--harmful", "harmful_file", required=True, type=FILE, help="Harmful prompts, as for ssn identify.")
@click.option("--harmless", "harmless_file", required=True, type=FILE, help="Harmless prompts, likewise.")
@click.option("--lang", default="en", show_default=True, help="Language code; both papers take English.")
@click.option("--layer", type=click.IntRange(0), help="The layer; by default the one that separates best.")
@BATCH_SIZE
@click.option("--limit", type=click.IntRange(2), help="The largest number of prompts of each label, drawn at random.")
@click.option("--seed", default=0, show_default=True, help="Seed of that draw.")
@click.option("--out", required=True, type=FILE, help="The file of the direction (.safetensors).")
@JSON
def direction(
    model: ModelOptions,
    harmful_file: Path,
    harmless_file: Path,
    lang: str,
    layer: int | None,
    batch_size: int,
    limit: int | None,
    seed: int,
    out: Path,
    as_json: bool,
) -> None:
    """Find the refusal direction: the difference of the residual stream on harmful and on harmless prompts.

    Use it with lm_eval: --model ssn_hf --model_args pretrained=M,direction=FILE,op=direction:ablate (or op=direction:add:1).

    Example: ssn direction --model Qwen/Qwen3-8B --harmful multijail --harmless polyrefuse --out direction.safetensors
    """
    from ssn_eval.core import tensors
    from ssn_eval.interventions import directions, residual
    from ssn_eval.prompts.encoding import subsample
    from ssn_eval.prompts.reading import read_one_language

    tensors.refuse_other_ending(out, "A direction")
    harmful = subsample(read_one_language(harmful_file, lang, "harmful"), limit, seed)
    harmless = subsample(read_one_language(harmless_file, lang, "harmless"), limit, seed)
    found = residual.find(model.load(), harmful, harmless, layer=layer, batch_size=batch_size)
    directions.save(out, found)
    counts = f"{len(harmful)} harmful and {len(harmless)} harmless {lang} prompts"
    separation = found.provenance["separation"][found.layer]
    sentence = f"layer {found.layer} of {len(found.differences)} separates {counts} by d = {separation} → {out}"
    emit({"out": out.as_posix(), "layer": found.layer, **found.provenance}, as_json, sentence)
