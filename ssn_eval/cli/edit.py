"""`ssn edit`: change the weights of a neuron set without training."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ssn_eval.cli.group import Group
from ssn_eval.cli.loading import ModelOptions, model_options
from ssn_eval.cli.options import BATCH_SIZE, codes_of
from ssn_eval.cli.output import FILE, JSON, emit

if TYPE_CHECKING:
    from ssn_eval.models.loading import Loaded

NEURONS = click.option("--neurons", "neuron_file", required=True, type=FILE, help="A neuron set of this model.")
OUT = click.option(
    "--out", required=True, type=FILE, help="The changed weights (.safetensors), for ssn_hf checkpoint=."
)


@click.group(cls=Group)
def edit() -> None:
    """Change the weights of a neuron set without training."""


@edit.command()
@model_options(required=True)
@NEURONS
@click.option("--languages", required=True, help="The weak languages, with commas between them.")
@click.option("--hr", default="en", show_default=True, help="The high-resource language.")
@click.option("--harmful", "harmful_file", default="multijail", show_default=True, help="Harmful prompts, parallel.")
@click.option("--harmless", "harmless_file", default="polyrefuse", show_default=True, help="Harmless prompts.")
@click.option("--rank", default=8, show_default=True, type=click.IntRange(1), help="Rank of the change of a weight.")
@click.option(
    "--gamma", default=1.0, show_default=True, type=click.FloatRange(0), help="Weight of keeping harmless prompts."
)
@click.option(
    "--ridge",
    default=0.01,
    show_default=True,
    type=click.FloatRange(0, min_open=True),
    help="Weight of a small change, as a share of the inputs' mean square.",
)
@BATCH_SIZE
@click.option("--heldout", default=0.25, show_default=True, help="Share of the ids that is left for evaluation.")
@click.option("--limit", type=click.IntRange(1), help="The largest number of ids of each label.")
@click.option("--seed", default=0, show_default=True, help="Seed of the split.")
@OUT
@JSON
def sparse(
    model: ModelOptions,
    neuron_file: Path,
    languages: str,
    hr: str,
    harmful_file: str,
    harmless_file: str,
    rank: int,
    gamma: float,
    ridge: float,
    batch_size: int,
    heldout: float,
    limit: int | None,
    seed: int,
    out: Path,
    as_json: bool,
) -> None:
    """Make MLP neurons answer weak languages as they answer English (sparse weight editing, arXiv 2602.22554).

    Only training prompts are used; the held-out ones are left for evaluation.

    Example: ssn edit sparse --model Qwen/Qwen3-8B --neurons found/sets/ss.json --languages th --out edited.safetensors
    """
    from ssn_eval.core import tensors
    from ssn_eval.core.settings import PromptParams
    from ssn_eval.prompts.corpus import TRAIN, from_sources
    from ssn_eval.training import editing

    tensors.refuse_other_ending(out, "An edit")
    langs = codes_of(languages)
    settings = PromptParams(harmful=harmful_file, harmless=harmless_file, heldout=heldout, limit=limit, seed=seed)
    prompts = [p for p in from_sources((hr, *langs), settings) if p.split == TRAIN]
    english = {p.id: p.prompt for p in prompts if (p.lang, p.label) == (hr, "harmful")}
    pairs = [(p.prompt, english[p.id]) for p in prompts if p.lang in langs and p.label == "harmful" and p.id in english]
    harmless = [p.prompt for p in prompts if p.lang in langs and p.label == "harmless"]
    loaded, neurons, provenance = _opened(model, neuron_file)
    patches = editing.sparse(
        loaded, neurons, pairs, harmless, rank=rank, gamma=gamma, ridge=ridge, batch_size=batch_size
    )
    origin = {
        "languages": langs,
        "hr": hr,
        "rank": rank,
        "gamma": gamma,
        "ridge": ridge,
        "pairs": len(pairs),
        "harmless": len(harmless),
    }
    _write(out, loaded, patches, {"edit": "sparse", **origin, **provenance}, as_json)


@edit.command()
@model_options(required=True)
@click.option("--donor", required=True, help="Hub id or folder of a model of the same architecture and size.")
@NEURONS
@OUT
@JSON
def transplant(model: ModelOptions, donor: str, neuron_file: Path, out: Path, as_json: bool) -> None:
    """Copy the weights of a neuron set from a donor (arXiv 2603.18449).

    Example: ssn edit transplant --model Qwen/Qwen3-8B --donor safer --neurons ss.json --out edited.safetensors
    """
    from ssn_eval.core import tensors
    from ssn_eval.models import loading
    from ssn_eval.models.loading import ModelSpec
    from ssn_eval.training import editing

    tensors.refuse_other_ending(out, "An edit")
    loaded, neurons, provenance = _opened(model, neuron_file)
    given = loading.load(ModelSpec.parse(donor, None, None, "auto"), device="cpu")
    patches = editing.transplant(loaded.model, given.model, neurons)
    _write(out, loaded, patches, {"edit": "transplant", "donor": given.ref.to_json(), **provenance}, as_json)


def _opened(model: ModelOptions, neuron_file: Path) -> tuple[Loaded, Any, dict[str, Any]]:
    """The model, the set's neurons, and what the edit's provenance says about them."""
    from ssn_eval.core import files, store
    from ssn_eval.core.origin import versions
    from ssn_eval.models import lineage

    file = store.load_neurons(neuron_file)
    loaded = model.load()
    lineage.refuse_other(
        file.model, loaded.ref, lineage.bases(Path(model.spec().pretrained)), f"The neuron set {neuron_file}"
    )
    used = {"neurons": len(file.neurons), "neurons_sha256": files.sha256(neuron_file), "set": dict(file.provenance)}
    return loaded, file.neurons, used | {"versions": versions()}


def _write(out: Path, loaded: Loaded, patches: Any, provenance: dict[str, Any], as_json: bool) -> None:
    from ssn_eval.models import deltas

    deltas.save(out, deltas.Delta(patches, loaded.ref, provenance))
    sentence = f"{len(patches)} weights of {loaded.ref.id} edited at {provenance['neurons']} neurons → {out}"
    emit({"out": out.as_posix(), "weights": len(patches), **provenance}, as_json, sentence)
