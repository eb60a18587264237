"""Neurons as JSON rows `{"layer", "matrix", "index", "score"}`, one a line.

    {"layer": 3, "matrix": "q_proj", "index": 17, "score": 0.42}

A neuron of gate_proj or up_proj is a row, one of down_proj a column: the three name one `mlp` neuron. An index of q, k
and v is a row, one of o_proj a column. `score` may be missing.
"""

from __future__ import annotations

import json
from typing import Any

from ssn_eval.core.errors import FormatError, MismatchError
from ssn_eval.core.neurons import NeuronSet, site_key
from ssn_eval.core.store import Scores
from ssn_eval.exchange.formats.reading import Found, site, text, whole

_MLP = ("gate_proj", "up_proj", "down_proj")
_ALIASES = {f"self_attn.{name}": name for name in ("q_proj", "k_proj", "v_proj", "o_proj")}
_ALIASES |= dict.fromkeys((*_MLP, *(f"mlp.{name}" for name in _MLP)), "mlp")
_WHAT = "JSONL of layer, matrix, index"


def dump(neurons: NeuronSet, scores: Scores | None = None) -> str:
    """One row a neuron, in the order of the set, `matrix` being our site name.

    Raises:
        MismatchError: a neuron has no score in `scores`.
    """
    rows = []
    for layer, matrix_site, index in neurons:
        row: dict[str, object] = {"layer": layer, "matrix": matrix_site, "index": index}
        if scores is not None:
            if site_key(layer, matrix_site) not in scores:
                raise MismatchError(
                    f"The score file has no scores of {site_key(layer, matrix_site)}; score that site too."
                )
            row["score"] = float(scores[site_key(layer, matrix_site)][index])
        rows.append(json.dumps(row) + "\n")
    return "".join(rows)


def parse(data: bytes, name: str, min_score: float | None = None) -> Found:
    """Read such rows; scores are used for `min_score` and not kept.

    Raises:
        FormatError: a line is no such row; names the line.
        UnknownNameError: an unknown matrix.
    """
    neurons: set[tuple[int, str, int]] = set()
    halves: list[tuple[int, str, int]] = []
    for number, line in enumerate(text(data, _WHAT, name).split("\n"), start=1):
        if not line.strip():
            continue
        place = f"{name}, line {number}"
        row = _row(line, place)
        if min_score is not None and _score(row, place) < min_score:
            continue
        site_name = site(row.get("matrix"), _ALIASES, place)
        neuron = (whole(row.get("layer"), "layer", place), site_name, whole(row.get("index"), "index", place))
        neurons.add(neuron)
        if site_name == "mlp" != row["matrix"]:
            halves.append(neuron)
    note = f"{len(halves)} rows of gate_proj, up_proj and down_proj name {len(set(halves))} of the mlp neurons."
    return Found(NeuronSet.of(neurons), (note,) if halves else ())


def _row(line: str, place: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{place} is not valid JSON; expected {_WHAT}.") from error
    if not isinstance(row, dict):
        raise FormatError(f"{place} is no JSON object; expected {_WHAT}.")
    return row


def _score(row: dict[str, Any], place: str) -> float:
    score = row.get("score")
    if not isinstance(score, int | float) or isinstance(score, bool) or score != score:
        raise FormatError(f"{place} has no score to compare with --min-score.")
    return score
