"""`ssn show` and `ssn diff`: look at neuron sets and compare them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ssn_eval.cli.loading import holds_scores
from ssn_eval.cli.output import FILE, JSON, by_layer, emit, table

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

    if holds_scores(file):
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
