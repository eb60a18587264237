"""Scores and neuron sets on disk, with the model they belong to and how they were made.

Scores: safetensors, one float32 tensor `(width,)` per site key, everything else as JSON in the header entry `ssn`
(`ssn-scores/1`).
Neuron sets: JSON (`ssn-neurons/1`), or safetensors with one int64 tensor of indices per site key. Never a pickle.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from ssn_eval import files
from ssn_eval.errors import FormatError, MismatchError, MissingInputError, ParamsError
from ssn_eval.neurons import Geometry, NeuronSet, parse_key

Scores = Mapping[str, np.ndarray]
"""site key → importance of every neuron there, `(width,)`, float32, ≥ 0."""

LARGEST_HEADER = 32 << 20
"""bytes; 200,000 sites, experts included, stay below it"""
SCORES_FORMAT = "ssn-scores/1"
NEURONS_FORMAT = "ssn-neurons/1"
_PACKAGES = ("ssn-eval", "torch", "transformers", "peft", "lm-eval", "numpy")


@dataclass(frozen=True)
class ModelRef:
    """Which model a file belongs to."""

    id: str
    """hub id or relative path, as it was asked for"""
    weights: str
    """sha256 over the names and contents of the weight files"""
    model_type: str
    geometry: Geometry
    revision: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The object that every artefact holds under `model`."""
        return {
            "id": self.id,
            "revision": self.revision,
            "weights_sha256": self.weights,
            "model_type": self.model_type,
            "geometry": self.geometry.to_json(),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ModelRef:
        """Read what `to_json` wrote.

        Raises:
            FormatError: a part is missing.
        """
        try:
            shape = Geometry.from_json(data["geometry"])
            return cls(
                str(data["id"]), str(data["weights_sha256"]), str(data["model_type"]), shape, data.get("revision")
            )
        except (KeyError, TypeError) as error:
            raise FormatError(
                f"The file does not say which model it belongs to: {error!r} is missing in `model`."
            ) from error

    def refuse_other(self, live: ModelRef, what: str) -> None:
        """Stop where `what`, made for this model, is about to be used on another one.

        Raises:
            MismatchError: type, shape or weights differ.
        """
        if (self.model_type, self.geometry.to_json()) != (live.model_type, live.geometry.to_json()):
            raise MismatchError(
                f"{what} belongs to {self.id} ({self.model_type}, {self.geometry.size()} neurons in {self.geometry.num_layers} layers), "
                f"but the model is {live.id} ({live.model_type}, {live.geometry.size()} in {live.geometry.num_layers}); "
                f"identify neurons on this model."
            )
        if self.weights != live.weights:
            raise MismatchError(
                f"{what} was made on {self.id} with weights {self.weights[:12]}, but {live.id} has weights {live.weights[:12]}: "
                f"same shape, another model. Identify neurons on this model, or say other_model=True if that is meant."
            )


@dataclass(frozen=True)
class ScoreFile:
    """Scores with their origin."""

    scores: Scores
    model: ModelRef
    provenance: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class NeuronFile:
    """A neuron set with its origin."""

    neurons: NeuronSet
    model: ModelRef
    provenance: Mapping[str, Any] = field(default_factory=dict)


def versions() -> dict[str, str]:
    """Installed versions of the packages that a result depends on."""
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def save_scores(path: Path, file: ScoreFile) -> None:
    """Write scores as safetensors with their origin in the header.

    Raises:
        FormatError: a score is NaN or infinite; names the site.
    """
    for key, values in file.scores.items():
        if not np.isfinite(values).all():
            raise FormatError(
                f"The scores of {key} hold NaN or infinite values; nothing was written. Score in float32."
            )
    tensors = {key: np.ascontiguousarray(values, dtype=np.float32) for key, values in file.scores.items()}
    write_tensors(path, tensors, SCORES_FORMAT, file.model, file.provenance)


def load_scores(path: Path) -> ScoreFile:
    """Read scores.

    Raises:
        MissingInputError: no such file.
        FormatError: truncated, tampered with, of another format, or not finite.
    """
    tensors, model, provenance = read_tensors(path, SCORES_FORMAT)
    for key, values in tensors.items():
        parse_key(key)
        if values.dtype != np.float32 or values.ndim != 1 or len(values) != model.geometry.widths.get(key):
            raise FormatError(f"{path}: {key} is {values.dtype} {values.shape}, expected float32 of the model's width.")
        if not np.isfinite(values).all():
            raise FormatError(f"{path}: the scores of {key} hold NaN or infinite values.")
    return ScoreFile(tensors, model, provenance)


def save_neurons(path: Path, file: NeuronFile) -> None:
    """Write a neuron set as `.json`, `.safetensors` or `.csv`, by the ending.

    Raises:
        ParamsError: another ending.
    """
    if path.suffix == ".json":
        value = {"format": NEURONS_FORMAT, "model": file.model.to_json(), "neurons": file.neurons.by_key()}
        files.write_json(path, {**value, "provenance": dict(file.provenance)})
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
    """Read a neuron set from `.json` or `.safetensors`, and check it against the shapes that it names itself.

    Raises:
        MissingInputError: no such file.
        FormatError: truncated, tampered with, or of another format.
        MismatchError: an index outside the model's shape.
    """
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
    model.geometry.check(neurons, str(path))
    return NeuronFile(neurons, model, provenance if isinstance(provenance, Mapping) else {})


def _are_indices(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(i, int) and not isinstance(i, bool) for i in value)


def refuse_other_ending(path: Path, what: str) -> None:
    """Stop before work is done for a file of that name.

    Raises:
        ParamsError: the ending is not .safetensors.
    """
    if path.suffix != ".safetensors":
        raise ParamsError(f"{what} is written as .safetensors; {path} has another ending.")


def write_tensors(
    path: Path,
    tensors: Mapping[str, Any],
    kind: str,
    model: ModelRef,
    provenance: Mapping[str, Any],
    framework: str = "numpy",
) -> None:
    """Write what `read_tensors` reads, whole or not at all.

    One header entry holds everything: safetensors writes several in random order, and equal inputs must give equal bytes.

    Raises:
        ParamsError: the ending is not .safetensors.
    """
    from importlib import import_module

    refuse_other_ending(path, kind)
    value = {"format": kind, "model": model.to_json(), "provenance": dict(provenance)}
    header = {"ssn": json.dumps(value, sort_keys=True, ensure_ascii=False, allow_nan=False)}
    encode = import_module({"numpy": "safetensors.numpy", "pt": "safetensors.torch"}[framework]).save
    with files.atomic(path) as temporary:
        temporary.write_bytes(encode(dict(tensors), header))


def refuse_huge_header(path: Path) -> None:
    """Stop before a safetensors header is parsed that is larger than any of ours.

    Raises:
        FormatError: says how large it claims to be.
    """
    with path.open("rb") as handle:
        size = int.from_bytes(handle.read(8), "little")
    if size > LARGEST_HEADER:
        raise FormatError(
            f"{path} is no safetensors file of ours: it claims a header of {size} bytes, and ours have {LARGEST_HEADER} at most."
        )


def read_tensors(path: Path, kind: str, framework: str = "numpy") -> tuple[dict[str, Any], ModelRef, Mapping[str, Any]]:
    """The tensors of a file that has our header, its model and its provenance.

    Args:
        path: a safetensors file.
        kind: the format that its header must name.
        framework: whose tensors: `numpy`, or `pt`, which also knows bfloat16.

    Raises:
        MissingInputError: no such file.
        FormatError: damaged, or of another format.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise MissingInputError(f"No file at {path}; expected {kind} in safetensors.")
    refuse_huge_header(path)
    try:
        with safe_open(path, framework=framework) as handle:
            told = json.loads((handle.metadata() or {}).get("ssn", "{}"))
            tensors = {key: handle.get_tensor(key) for key in handle.keys()}  # noqa: SIM118
        if not isinstance(told, Mapping) or told.get("format") != kind:
            said = told.get("format") if isinstance(told, Mapping) else told
            raise FormatError(f"{path} is not a file of {kind}: its header says {str(said)[:60]!r}.")
        model, provenance = told["model"], told["provenance"]
        if not isinstance(provenance, Mapping):
            raise FormatError(f"{path} does not say how it was made: `provenance` is no object.")
    except (SafetensorError, KeyError, json.JSONDecodeError, OSError, ValueError, TypeError) as error:
        raise FormatError(f"{path} is damaged or no safetensors file of {kind}: {error}.") from error
    return tensors, ModelRef.from_json(model), provenance
