"""Neuron sets in the file formats of other tools: `encode` to bytes, `decode` from bytes. Only the callers touch files.

| format | what it is | sites that it can hold |
|---|---|---|
| `sntune` | SN-Tune's text: five dict literals | q, k, v, mlp |
| `lape` | LAPE's `.pth`: index tensors by language and layer | mlp |
| `jsonl` | rows of layer, matrix, index, score | all |
| `csv`, `parquet` | rows of layer, site, index | all |

Indices mean what they mean in `ssn_eval.core.neurons` everywhere. None of these files says which model it belongs to, so the
reader brings the model's shape, and every index is checked against it.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from ssn_eval.core import files
from ssn_eval.core.errors import EmptySetError, MissingInputError, ParamsError, UnknownNameError
from ssn_eval.core.neurons import Geometry, NeuronSet
from ssn_eval.core.store import Scores
from ssn_eval.exchange.formats.reading import Found

WRITTEN = ("sntune", "lape", "jsonl", "parquet")
READ = (*WRITTEN, "csv")
"""csv is written by `store`."""
SUPPORTED: dict[str, frozenset[str]] = {
    "sntune": frozenset(("q_proj", "k_proj", "v_proj", "mlp")),
    "lape": frozenset(("mlp",)),
}
"""format → the only sites that it has a place for; the other formats name the site in every row."""


def carried(neurons: NeuronSet, kind: str, *, drop: bool = False) -> NeuronSet:
    """The part of a set that a format can hold: the whole set, unless `drop` allows less.

    Raises:
        ParamsError: the format cannot hold some neurons, and `drop` is false.
        EmptySetError: nothing is left to write.
    """
    supported = SUPPORTED.get(kind)
    carried_neurons = (
        neurons if supported is None else NeuronSet(frozenset(n for n in neurons.members if n.site in supported))
    )
    if len(carried_neurons) < len(neurons) and not drop:
        sites = ", ".join(
            f"{count} {site}" for site, count in sorted(Counter(n.site for n in neurons - carried_neurons).items())
        )
        raise ParamsError(
            f"{kind} has no place for {sites} neurons out of {len(neurons)}, so nothing was written; "
            f"--drop-unsupported leaves them out."
        )
    if not carried_neurons:
        raise EmptySetError(f"No neuron of the set ({len(neurons)} in all) is left to write as {kind}.")
    return carried_neurons


def encode(neurons: NeuronSet, kind: str, geometry: Geometry, scores: Scores | None = None) -> bytes:
    """The bytes of a file of that format; equal sets give equal bytes.

    Args:
        neurons: what to write; see `carried`.
        kind: one of `WRITTEN`.
        geometry: the model's shape: some formats have an entry for every layer.
        scores: fills the column `score` of jsonl.

    Raises:
        UnknownNameError: no such format.
        MismatchError: a neuron has no score.
    """
    if kind == "sntune":
        from ssn_eval.exchange.formats import sntune

        return sntune.dump(neurons, geometry.num_layers).encode()
    if kind == "lape":
        from ssn_eval.exchange.formats import lape

        return lape.dump(neurons, geometry.num_layers)
    if kind == "jsonl":
        from ssn_eval.exchange.formats import jsonl

        return jsonl.dump(neurons, scores).encode()
    if kind == "parquet":
        from ssn_eval.exchange.formats import tables

        return tables.dump_parquet(neurons)
    raise UnknownNameError("format", kind, WRITTEN)


def decode(
    path: Path, kind: str, geometry: Geometry, *, language: int | None = None, min_score: float | None = None
) -> Found:
    """Read a file of another tool and check it against a model's shape.

    Args:
        path: the file.
        kind: one of `READ`.
        geometry: the shape of the model that the neurons belong to.
        language: which language of a LAPE file, from 0.
        min_score: only rows of jsonl with at least this score.

    Raises:
        MissingInputError: no such file.
        FormatError, UnknownNameError: it is not such a file, or names something unknown.
        MismatchError: a neuron lies outside the model.
        EmptySetError: it holds no neuron.
    """
    if not path.is_file():
        raise missing(path, kind)
    data, name = files.read_bytes(path, f"neurons as {kind}"), str(path)
    if kind == "sntune":
        from ssn_eval.exchange.formats import sntune

        sections = sntune.parse(data, name)
        sntune.refuse_repeated_heads(sections.neurons, geometry, name)
    elif kind == "lape":
        from ssn_eval.exchange.formats import lape

        sections = lape.parse(data, name, geometry.num_layers, language)
    elif kind == "jsonl":
        from ssn_eval.exchange.formats import jsonl

        sections = jsonl.parse(data, name, min_score)
    elif kind in ("csv", "parquet"):
        from ssn_eval.exchange.formats import tables

        sections = (tables.parse_csv if kind == "csv" else tables.parse_parquet)(data, name)
    else:
        raise UnknownNameError("format", kind, READ)
    if not sections.neurons:
        raise EmptySetError(f"{path} holds no neuron.")
    geometry.check(sections.neurons, name)
    return sections


def missing(path: Path, kind: str) -> MissingInputError:
    """The error for a file that is not there."""
    return MissingInputError(f"No file at {path}; expected neurons as {kind}.")
