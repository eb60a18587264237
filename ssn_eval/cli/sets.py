"""`ssn show`, `ssn diff`, `ssn combine` and `ssn export`: look at neuron sets, compare and combine them, write them otherwise."""

from __future__ import annotations

import json
from pathlib import Path

import click

from ssn_eval.cli.loading import load, spec
from ssn_eval.cli.output import FILE, JSON, by_layer, emit, table
from ssn_eval.errors import EmptySetError, ParamsError


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
        value = {"kind": "scores", "scored": size, "mean": {k: float(v.mean()) for k, v in found.scores.items()}}
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
@click.argument("sets", type=FILE, nargs=-1, required=True, metavar="FILES...")
@click.option("--union", "how", flag_value="union", help="The neurons of any set.")
@click.option("--intersection", "how", flag_value="intersection", help="The neurons that all sets hold.")
@click.option("--at-least", type=int, metavar="K", help="The neurons of at least K of the sets.")
@click.option("--out", required=True, type=FILE, help=".json, .safetensors or .csv")
@JSON
def combine(sets: tuple[Path, ...], how: str | None, at_least: int | None, out: Path, as_json: bool) -> None:
    """Combine neuron sets of one model by union, intersection or k-of-n sharing.

    Example: ssn combine --at-least 2 artifacts/sets/ss/*.json --out ss_shared_by_2.json
    """
    from ssn_eval import selection, store

    if (how is None) == (at_least is None):
        raise ParamsError("Say how to combine the sets: one of --union, --intersection and --at-least K.")
    found = [store.load_neurons(path) for path in sets]
    for path, file in zip(sets, found, strict=True):
        file.model.refuse_other(found[0].model, str(path))
    k = at_least if at_least is not None else 1 if how == "union" else len(found)
    neurons = selection.at_least([file.neurons for file in found], k)
    if not neurons:
        raise EmptySetError(
            f"No neuron is in {k} of the {len(found)} sets; ask for fewer, or select with a larger --p."
        )
    made = {"what": "combined", "at_least": k, "of": [path.as_posix() for path in sets], "versions": store.versions()}
    store.save_neurons(out, store.NeuronFile(neurons, found[0].model, made))
    emit({"out": out.as_posix(), "neurons": len(neurons), **made}, as_json, f"{len(neurons)} neurons → {out}")


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
