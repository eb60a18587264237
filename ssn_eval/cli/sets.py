"""`ssn show`, `ssn diff`, `ssn agreement` and `ssn combine`: look at neuron sets, compare and combine them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ssn_eval.cli.output import FILE, JSON, by_layer, emit, table
from ssn_eval.cli.runs import compare_runs
from ssn_eval.core.errors import EmptySetError, ParamsError

if TYPE_CHECKING:
    import numpy as np

    from ssn_eval.core.store import Scores


@click.command()
@click.argument("file", type=FILE)
@JSON
def show(file: Path, as_json: bool) -> None:
    """Show a neuron set (how many neurons are where, stability, contrast) or a score file (the mean importance by site).

    With --json, a set's contrast is the 95 % interval of every neuron by language, if its score files held statistics.

    Example: ssn show artifacts/sets/ss.json
    """
    from ssn_eval.core import store
    from ssn_eval.core.store import holds_scores

    if holds_scores(file):
        scores = store.load_scores(file)
        size = sum(map(len, scores.scores.values()))
        value = {"kind": "scores", "scored": size, "mean": _means(scores.scores)}
        title, cells = f"Mean importance of {size} neurons", {k: f"{v:.3g}" for k, v in value["mean"].items()}
    else:
        scores = store.load_neurons(file)
        counts = dict(scores.neurons.per_key())
        value = {"kind": "neurons", "neurons": len(scores.neurons), "per_key": counts}
        if scores.contrast:
            value["contrast"] = {lang: dict(by_key) for lang, by_key in scores.contrast.items()}
        title, cells = (
            f"{len(scores.neurons)} of {scores.model.geometry.size()} neurons",
            {k: str(v) for k, v in counts.items()},
        )
    value |= {"model": scores.model.to_json(), "provenance": dict(scores.provenance)}
    emit(value, as_json, by_layer(f"{title} of {scores.model.id}", cells, scores.model))
    if not as_json:
        for line in _trust(value):
            click.echo(line)


def _trust(value: Mapping[str, Any]) -> Iterator[str]:
    """One line on the stability of a set, and one for each language on the contrast of its neurons, as far as the file has them."""
    from statistics import median

    stability = value["provenance"].get("stability")
    if stability and stability["jaccard"] is not None:
        yield (
            f"Two halves of the prompts give sets with a Jaccard index of {stability['jaccard']:.3f} "
            f"(by chance {stability['chance']:.3f})."
        )
    for lang, by_key in value.get("contrast", {}).items():
        ends = [pair for one in by_key.values() for pair in zip(one["low"], one["high"], strict=True)]
        if ends:
            above = sum(low > 0 for low, _ in ends) / len(ends)
            middle = median((low + high) / 2 for low, high in ends)
            yield f"Contrast in {lang}: median {middle:+.2f}; {above:.0%} of the 95 % intervals lie above 0."


def _means(scores: Scores) -> dict[str, float]:
    """Mean importance by layer and site kind: the experts of a layer are one `mlp`, as in `NeuronSet.per_key`."""
    import numpy as np

    from ssn_eval.core.neurons import parse_key, site_key, site_kind

    parts: dict[str, list[np.ndarray]] = {}
    for key, values in scores.items():
        layer, site = parse_key(key)
        parts.setdefault(site_key(layer, site_kind(site)), []).append(values)
    return {key: float(np.concatenate(values).mean()) for key, values in parts.items()}


@click.command()
@click.argument("first", type=FILE)
@click.argument("second", type=FILE)
@click.option("--metric", help="For two runs: the metric (asr, refusal, compliance, over_refusal, invalid, …).")
@click.option(
    "--correction",
    default="holm",
    show_default=True,
    help="For two runs: the correction over languages (holm, bh or none).",
)
@click.option(
    "--other-settings",
    is_flag=True,
    help="For two runs: compare them although they differ in few-shot examples, system instruction, template or generation settings.",
)
@JSON
def diff(first: Path, second: Path, metric: str | None, correction: str, other_settings: bool, as_json: bool) -> None:
    """Compare two neuron sets of one model, or two runs on the same prompts (paired tests by language).

    Example: ssn diff artifacts/sets/ss.json artifacts/sets/ms_hr.json

    Example: ssn diff out/base out/trained
    """
    if first.is_dir() or first.suffix not in (".json", ".safetensors", ".csv"):
        compare_runs(first, second, metric, correction, other_settings, as_json)
    else:
        _compare_sets(first, second, as_json)


def _compare_sets(first: Path, second: Path, as_json: bool) -> None:
    from ssn_eval.core import store

    a, b = store.load_neurons(first), store.load_neurons(second)
    b.model.refuse_other(a.model, str(second))
    first_neurons, second_neurons = a.neurons, b.neurons
    parts = {
        "shared": len(first_neurons & second_neurons),
        "only_first": len(first_neurons - second_neurons),
        "only_second": len(second_neurons - first_neurons),
    }
    jaccard = first_neurons.jaccard(second_neurons)
    lines = table(f"{first} and {second}", "shared", "only first", "only second", "Jaccard")
    lines.add_row(*map(str, parts.values()), f"{jaccard:.3f}")
    emit({**parts, "jaccard": jaccard}, as_json, lines)


@click.command()
@click.argument("sets", type=FILE, nargs=-1, required=True, metavar="FILES...")
@JSON
def agreement(sets: tuple[Path, ...], as_json: bool) -> None:
    """Show how far neuron sets of one model agree: size, stability, and the overlap of every two beside that of chance.

    A set's stability is what its file says: `ssn select`, `ssn find` and the pipeline write it.

    Example: ssn agreement artifacts/sets/ss.json artifacts/sets/ms_hr.json
    """
    from ssn_eval.core import store
    from ssn_eval.identification.agreement import Row, refuse_few
    from ssn_eval.identification.agreement import agreement as compare
    from ssn_eval.report.agreement import grid

    refuse_few([str(path) for path in sets])
    files = {path: store.load_neurons(path) for path in sets}
    first = files[sets[0]].model
    for path, file in files.items():
        file.model.refuse_other(first, str(path))
    stems = [path.stem for path in sets]
    names = stems if len(set(stems)) == len(stems) else [path.as_posix() for path in sets]
    rows = {
        name: Row(file.neurons, file.provenance.get("stability"))
        for name, file in zip(names, files.values(), strict=True)
    }
    found = compare(rows, first.geometry)
    shown = grid(found, f"Neuron sets of {first.id}")
    lines = table(shown.caption, *shown.header)
    for row in shown.rows:
        lines.add_row(*row)
    emit(found, as_json, lines)


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
    from ssn_eval.core import origin, store
    from ssn_eval.identification import selection

    if (how is None) == (at_least is None):
        raise ParamsError("Say how to combine the sets: one of --union, --intersection and --at-least K.")
    files = [store.load_neurons(path) for path in sets]
    for path, file in zip(sets, files, strict=True):
        file.model.refuse_other(files[0].model, str(path))
    k = at_least if at_least is not None else 1 if how == "union" else len(files)
    neurons = selection.at_least([file.neurons for file in files], k)
    if not neurons:
        raise EmptySetError(
            f"No neuron is in {k} of the {len(files)} sets; ask for fewer, or select with a larger --p."
        )
    provenance = {
        "what": "combined",
        "at_least": k,
        "of": [path.as_posix() for path in sets],
        "versions": origin.versions(),
    }
    store.save_neurons(out, store.NeuronFile(neurons, files[0].model, provenance))
    emit({"out": out.as_posix(), "neurons": len(neurons), **provenance}, as_json, f"{len(neurons)} neurons → {out}")
