"""`ssn show`, `ssn diff` and `ssn export`: look at neuron sets, compare them, write them in another format."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ssn_eval.cli.loading import load, spec
from ssn_eval.cli.output import FILE, JSON, by_layer, emit, table
from ssn_eval.errors import ParamsError

if TYPE_CHECKING:
    import numpy as np

    from ssn_eval.store import Scores


@click.command()
@click.argument("file", type=FILE)
@JSON
def show(file: Path, as_json: bool) -> None:
    """Show a neuron set (how many neurons are where) or a score file (the mean importance by site).

    Example: ssn show artifacts/sets/ss.json
    """
    from ssn_eval import store

    if _holds_scores(file):
        found = store.load_scores(file)
        size = sum(map(len, found.scores.values()))
        value = {"kind": "scores", "scored": size, "mean": _means(found.scores)}
        title, cells = f"Mean importance of {size} neurons", {k: f"{v:.3g}" for k, v in value["mean"].items()}
    else:
        found = store.load_neurons(file)
        counts = dict(found.neurons.per_key())
        value = {"kind": "neurons", "neurons": len(found.neurons), "per_key": counts}
        title, cells = (
            f"{len(found.neurons)} of {found.model.geometry.size()} neurons",
            {k: str(v) for k, v in counts.items()},
        )
    value |= {"model": found.model.to_json(), "provenance": dict(found.provenance)}
    emit(value, as_json, by_layer(f"{title} of {found.model.id}", cells, found.model))


def _means(scores: Scores) -> dict[str, float]:
    """Mean importance by layer and site kind: the experts of a layer are one `mlp`, as in `NeuronSet.per_key`."""
    import numpy as np

    from ssn_eval.neurons import parse_key, site_key, site_kind

    parts: dict[str, list[np.ndarray]] = {}
    for key, values in scores.items():
        layer, site = parse_key(key)
        parts.setdefault(site_key(layer, site_kind(site)), []).append(values)
    return {key: float(np.concatenate(values).mean()) for key, values in parts.items()}


@click.command()
@click.argument("first", type=FILE)
@click.argument("second", type=FILE)
@JSON
def diff(first: Path, second: Path, as_json: bool) -> None:
    """Compare two neuron sets of one model.

    Example: ssn diff artifacts/sets/ss.json artifacts/sets/ms_hr.json
    """
    from ssn_eval import store

    a, b = store.load_neurons(first), store.load_neurons(second)
    b.model.refuse_other(a.model, str(second))
    one, two = a.neurons, b.neurons
    parts = {"shared": len(one & two), "only_first": len(one - two), "only_second": len(two - one)}
    jaccard = one.jaccard(two)
    shown = table(f"{first} and {second}", "shared", "only first", "only second", "Jaccard")
    shown.add_row(*map(str, parts.values()), f"{jaccard:.3f}")
    emit({**parts, "jaccard": jaccard}, as_json, shown)


@click.command()
@click.argument("neurons", type=FILE)
@click.option("--format", "kind", required=True, type=click.Choice(["json", "csv", "safetensors", "peft"]))
@click.option("--model", help="For peft: the model (id, folder or package:NAME), if not the one that the set names.")
@click.option("--gguf-file", help="For peft: a GGUF file inside the model's folder or package.")
@click.option("--out", required=True, type=FILE)
@JSON
def export(neurons: Path, kind: str, model: str | None, gguf_file: str | None, out: Path, as_json: bool) -> None:
    """Write a neuron set in another format; peft is the untrained neuron-LoRA adapter of the set.

    Example: ssn export artifacts/sets/ss.json --format csv --out ss.csv
    """
    from ssn_eval import store

    found = store.load_neurons(neurons)
    if kind == "peft":
        from ssn_eval import adapters

        if out.exists() and not (out / "adapter_config.json").is_file():
            raise ParamsError(f"{out} is there already and is no adapter; name a new folder for --out.")
        loaded = load(spec(model or found.model.id, None if model else found.model.revision, gguf_file), None, False)
        found.model.refuse_other(loaded.ref, str(neurons))
        made = {"untrained": True, **found.provenance}
        adapters.save(adapters.build(loaded.model, found.neurons), out, loaded.ref, made)
    elif out.suffix != f".{kind}":
        raise ParamsError(f"--format {kind} writes a .{kind} file, but --out is {out}.")
    else:
        store.save_neurons(out, found)
    size = len(found.neurons)
    emit({"out": out.as_posix(), "format": kind, "neurons": size}, as_json, f"{size} neurons → {out}")


def _holds_scores(path: Path) -> bool:
    """Whether the header says so; a damaged or missing file is left to the loaders and their messages."""
    from safetensors import SafetensorError, safe_open

    from ssn_eval.store import SCORES_FORMAT

    if path.suffix != ".safetensors" or not path.is_file():
        return False
    try:
        with safe_open(path, framework="numpy") as handle:
            return json.loads((handle.metadata() or {}).get("ssn", "{}")).get("format") == SCORES_FORMAT
    except (SafetensorError, OSError, ValueError, AttributeError):
        return False
