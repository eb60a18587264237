"""`ssn reference`: the activations that the ops mean and set:<quantile> take their constants from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ssn_eval.cli.loading import DEVICE, DTYPE, GGUF_FILE, REVISION
from ssn_eval.cli.output import FILE, JSON, emit

if TYPE_CHECKING:
    from ssn_eval.prompts.prompt import Label


@click.command()
@click.option("--model", required=True, help="Hub id or folder, or package:NAME.")
@REVISION
@GGUF_FILE
@DTYPE
@DEVICE
@click.option("--prompts", "prompt_file", required=True, type=FILE, help="As for ssn identify.")
@click.option("--lang", required=True, help="Language code, for example en.")
@click.option("--label", default="harmless", show_default=True, type=click.Choice(["harmful", "harmless"]))
@click.option("--sites", default="both", show_default=True, help="attention, mlp, both, or a comma-separated list.")
@click.option("--neurons", "neuron_files", type=FILE, multiple=True, help="Only these sets' neurons; may be repeated.")
@click.option("--batch-size", default=8, show_default=True, type=click.IntRange(1))
@click.option("--limit", type=click.IntRange(1), help="At most so many prompts.")
@click.option("--seed", default=0, show_default=True, help="Of --limit.")
@click.option("--out", required=True, type=FILE, help="Where the activations go (.safetensors).")
@JSON
def reference(
    model: str,
    revision: str | None,
    gguf_file: str | None,
    dtype: str,
    device: str | None,
    prompt_file: Path,
    lang: str,
    label: Label,
    sites: str,
    neuron_files: tuple[Path, ...],
    batch_size: int,
    limit: int | None,
    seed: int,
    out: Path,
    as_json: bool,
) -> None:
    """Measure the activations of a reference set: every neuron's mean and percentiles over the tokens of its prompts.

    Example: ssn reference --model Qwen/Qwen3-8B --prompts data/PolyRefuse --lang en --neurons ss.json --out ref.safetensors
    """
    import hashlib

    from ssn_eval.core import origin, store, tensors
    from ssn_eval.core.neurons import NeuronSet, expand_sites
    from ssn_eval.interventions import measuring
    from ssn_eval.interventions import reference as references
    from ssn_eval.models import lineage, loading
    from ssn_eval.models.loading import ModelSpec
    from ssn_eval.prompts.encoding import encode, subsample
    from ssn_eval.prompts.reading import read_one_language

    tensors.refuse_other_ending(out, "A reference set")
    chosen = expand_sites([name.strip() for name in sites.split(",")])
    asked = subsample(read_one_language(prompt_file, lang, label), limit, seed)
    sets = [store.load_neurons(path) for path in neuron_files]
    wanted = ModelSpec.parse(model, revision, gguf_file, dtype)
    loaded = loading.load(wanted, device=device)
    for path, file in zip(neuron_files, sets, strict=True):
        lineage.refuse_other(file.model, loaded.ref, lineage.bases(Path(wanted.pretrained)), f"The neuron set {path}")
    only = NeuronSet(frozenset().union(*(file.neurons.members for file in sets))) if sets else None
    context = int(getattr(loaded.model.config.get_text_config(), "max_position_embeddings", 1 << 30))
    encoded = encode(loaded.tokenizer, [p.prompt for p in asked], context)
    found = measuring.measure(loaded.model, encoded.ids, sites=chosen, neurons=only, batch_size=batch_size)
    made = {
        "lang": lang,
        "label": label,
        "prompts": len(asked),
        "tokens": sum(map(len, encoded.ids)),
        "truncated": encoded.truncated,
        "neurons": sum(len(site.index) for site in found.values()),
        "prompts_sha256": hashlib.sha256("\n".join(p.prompt for p in asked).encode()).hexdigest(),
        "seed": seed if limit else None,
        "versions": origin.versions(),
    }
    references.save(out, references.Reference(found, loaded.ref, made))
    shown = f"{made['neurons']} neurons on {made['tokens']} tokens of {made['prompts']} {lang} {label} prompts → {out}"
    emit({"out": out.as_posix(), **made}, as_json, shown)
