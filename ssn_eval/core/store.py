"""Scores and neuron sets on disk, with the model they belong to and their provenance.

Scores: safetensors, one float32 tensor `(width,)` per site key, everything else as JSON in the header entry `ssn`
(`ssn-scores/1`); with the statistics of the prompts beside them (`core/moments.py`) it is `ssn-scores/2`.
Neuron sets: JSON (`ssn-neurons/1`), or safetensors with one int64 tensor of indices per site key. No pickle.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ssn_eval.core import files
from ssn_eval.core.errors import FormatError, ParamsError
from ssn_eval.core.moments import Scores as Scores
from ssn_eval.core.moments import Statistics
from ssn_eval.core.neurons import NeuronSet, parse_key
from ssn_eval.core.origin import ModelRef
from ssn_eval.core.tensors import read_tensors, write_tensors

Intervals = Mapping[str, Mapping[str, Mapping[str, list[float]]]]
"""language → site key → `low` and `high`: the interval of each neuron's contrast, in the order of the set's indices there"""

SCORES_FORMAT = "ssn-scores/1"
STATISTICS_FORMAT = "ssn-scores/2"
NEURONS_FORMAT = "ssn-neurons/1"


@dataclass(frozen=True)
class ScoreFile:
    """Scores with their model and provenance."""

    scores: Scores
    model: ModelRef
    provenance: Mapping[str, Any] = field(default_factory=dict)
    statistics: Statistics | None = None
    """of the prompts; None in older files, with fewer than two prompts, and where only some neurons were measured"""


@dataclass(frozen=True)
class NeuronFile:
    """A neuron set with its model and provenance."""

    neurons: NeuronSet
    model: ModelRef
    provenance: Mapping[str, Any] = field(default_factory=dict)
    contrast: Intervals = field(default_factory=dict)
    """kept in JSON only; empty if the score files hold no statistics"""


def save_scores(path: Path, file: ScoreFile) -> None:
    """Write scores as safetensors, with model and provenance in the header.

    Raises:
        FormatError: a score is NaN or infinite; the message names the site.
    """
    for key, values in file.scores.items():
        if not np.isfinite(values).all():
            raise FormatError(
                f"The scores of {key} hold NaN or infinite values; nothing was written. Score in float32."
            )
    tensors = {key: np.ascontiguousarray(values, dtype=np.float32) for key, values in file.scores.items()}
    if file.statistics is None:
        write_tensors(path, tensors, SCORES_FORMAT, file.model, file.provenance)
    else:
        write_tensors(path, tensors | file.statistics.tensors(), STATISTICS_FORMAT, file.model, file.provenance)


def load_scores(path: Path) -> ScoreFile:
    """Read scores.

    Raises:
        MissingInputError: no such file.
        FormatError: the file is damaged, has another format, or holds values that are not finite.
    """
    tensors, model, provenance = read_tensors(path, SCORES_FORMAT, or_kind=STATISTICS_FORMAT)
    try:
        statistics = Statistics.take(tensors)
    except ValueError as error:
        raise FormatError(f"{path} is damaged: {error}; score again.") from error
    for key, values in tensors.items():
        parse_key(key)
        if values.dtype != np.float32 or values.ndim != 1 or len(values) != model.geometry.widths.get(key):
            raise FormatError(f"{path}: {key} is {values.dtype} {values.shape}, expected float32 of the model's width.")
        if not np.isfinite(values).all():
            raise FormatError(f"{path}: the scores of {key} hold NaN or infinite values.")
    return ScoreFile(tensors, model, provenance, statistics)


def save_neurons(path: Path, file: NeuronFile) -> None:
    """Write a neuron set as `.json`, `.safetensors` or `.csv`, as the file name ends.

    Raises:
        ParamsError: the name ends otherwise.
    """
    if path.suffix == ".json":
        value = {"format": NEURONS_FORMAT, "model": file.model.to_json(), "neurons": file.neurons.by_key()}
        contrast = {"contrast": file.contrast} if file.contrast else {}
        files.write_json(path, {**value, **contrast, "provenance": dict(file.provenance)})
    elif path.suffix == ".safetensors":
        tensors = {key: np.asarray(indices, dtype=np.int64) for key, indices in file.neurons.by_key().items()}
        write_tensors(path, tensors, NEURONS_FORMAT, file.model, file.provenance)
    elif path.suffix == ".csv":
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(("layer", "site", "index"))
        writer.writerows(file.neurons)
        files.write_text(path, text.getvalue())
    else:
        raise ParamsError(f"Cannot write a neuron set to {path}; the ending must be .json, .safetensors or .csv.")


def load_neurons(path: Path) -> NeuronFile:
    """Read a neuron set from `.json` or `.safetensors`, and check it against the model shape in the file.

    Raises:
        MissingInputError: no such file.
        FormatError: the file is damaged or has another format.
        MismatchError: a neuron lies outside the model.
    """
    contrast: object = {}
    if path.suffix == ".safetensors":
        tensors, model, provenance = read_tensors(path, NEURONS_FORMAT)
        if any(v.dtype != np.int64 or v.ndim != 1 for v in tensors.values()):
            raise FormatError(f"{path} is not a neuron set: expected int64 vectors of indices.")
        neurons = NeuronSet.from_keys({key: values.tolist() for key, values in tensors.items()})
    else:
        data = files.read_json(path, f"a neuron set ({NEURONS_FORMAT})")
        if not isinstance(data, Mapping) or data.get("format") != NEURONS_FORMAT:
            raise FormatError(f'{path} is not a neuron set: it lacks "format": "{NEURONS_FORMAT}".')
        by_key, provenance = data.get("neurons"), data.get("provenance", {})
        if not isinstance(by_key, Mapping) or not all(_are_indices(v) for v in by_key.values()):
            raise FormatError(f"{path}: `neurons` must map layers.<i>.<site> to lists of whole numbers.")
        model = ModelRef.from_json(data.get("model", {}))
        neurons = NeuronSet.from_keys(by_key)
        contrast = data.get("contrast", {})
        if not _are_intervals(contrast, neurons):
            raise FormatError(
                f"{path}: `contrast` must map languages to layers.<i>.<site> with low and high, a number for each neuron of the set."
            )
    model.geometry.check(neurons, str(path))
    origin = provenance if isinstance(provenance, Mapping) else {}
    return NeuronFile(neurons, model, origin, contrast)  # type: ignore[arg-type]


def _are_indices(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(i, int) and not isinstance(i, bool) for i in value)


def _are_intervals(value: object, neurons: NeuronSet) -> bool:
    """Whether a value is the contrast of these neurons."""
    sizes = {key: len(indices) for key, indices in neurons.by_key().items()}
    return isinstance(value, Mapping) and all(
        isinstance(by_key, Mapping)
        and by_key.keys() == sizes.keys()
        and all(
            isinstance(ends, Mapping)
            and all(isinstance(ends.get(end), list) and len(ends[end]) == sizes[key] for end in ("low", "high"))
            and all(type(x) in (int, float) for end in ("low", "high") for x in ends[end])
            for key, ends in by_key.items()
        )
        for by_key in value.values()
    )


def model_of(path: Path) -> ModelRef:
    """The model that a neuron set or score file belongs to; the model itself is not loaded.

    Raises:
        MissingInputError, FormatError: the file does not exist, or is neither a neuron set nor a score file.
    """
    from ssn_eval.core import store

    return (store.load_scores(path) if holds_scores(path) else store.load_neurons(path)).model


def holds_scores(path: Path) -> bool:
    """Whether the header of a file says that it is a score file; False for a damaged or missing file.

    Raises:
        FormatError: the header is larger than any of ours.
    """
    from safetensors import SafetensorError, safe_open

    from ssn_eval.core.tensors import refuse_huge_header

    if path.suffix != ".safetensors" or not path.is_file():
        return False
    refuse_huge_header(path)
    try:
        with safe_open(path, framework="numpy") as handle:
            kind = json.loads((handle.metadata() or {}).get("ssn", "{}")).get("format")
            return kind in (SCORES_FORMAT, STATISTICS_FORMAT)
    except (SafetensorError, OSError, ValueError, AttributeError):
        return False
