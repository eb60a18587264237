"""The activations of a reference set: each neuron's mean and percentiles, in a file with its origin.

`ssn-reference/1`: safetensors with three tensors a site key, `<key>/index` (n,), int64, the neurons measured;
`<key>/mean` (n,) and `<key>/percentiles` (101, n), float32. `ssn_eval/interventions/measuring.py` measures them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ssn_eval.core.errors import FormatError, MismatchError, ParamsError
from ssn_eval.core.neurons import Geometry, parse_key
from ssn_eval.core.origin import ModelRef
from ssn_eval.core.tensors import read_tensors, write_tensors

FORMAT = "ssn-reference/1"
PERCENTILES = 101
"""0 to 100; a quantile between two of them is interpolated"""


@dataclass(frozen=True)
class Activations:
    """The activations of the measured neurons of one site."""

    index: np.ndarray
    """(n,), int64, ascending: the neurons measured"""
    mean: np.ndarray
    """(n,), float32"""
    percentiles: np.ndarray
    """(101, n), float32"""


@dataclass(frozen=True)
class Reference:
    """Every measured site of one model, with the origin."""

    sites: Mapping[str, Activations]
    model: ModelRef
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def constant(self, key: str, index: int, source: Literal["mean"] | float) -> float:
        """A neuron's mean, or the given quantile (0 to 1), over the reference set.

        Raises:
            ParamsError: the neuron was not measured.
        """
        site = self.sites.get(key)
        at = int(np.searchsorted(site.index, index)) if site else 0
        if site is None or at == len(site.index) or site.index[at] != index:
            raise ParamsError(
                f"The reference set has no activations of neuron {index} of {key}; measure that neuron with `ssn reference` "
                f"(an expert that no reference prompt reaches has none)."
            )
        if source == "mean":
            return float(site.mean[at])
        return float(np.interp(100 * source, np.arange(PERCENTILES), site.percentiles[:, at]))

    def refuse_other_shape(self, shape: Geometry) -> None:
        """Stop if the model has another shape than the one that was measured.

        Raises:
            MismatchError: it has.
        """
        if self.model.geometry.to_json() != shape.to_json():
            raise MismatchError(
                f"The reference set was measured on {self.model.id}, which has another shape than this model; measure one on "
                f"this model with `ssn reference`."
            )


def save(path: Path, reference: Reference) -> None:
    """Write a reference set, whole or not at all.

    Raises:
        FormatError: a value is NaN or infinite.
        ParamsError: the ending is not .safetensors.
    """
    tensors: dict[str, np.ndarray] = {}
    for key, activations in reference.sites.items():
        if not (np.isfinite(activations.mean).all() and np.isfinite(activations.percentiles).all()):
            raise FormatError(f"The activations of {key} are NaN or infinite; nothing was written. Measure in float32.")
        tensors[f"{key}/index"] = np.ascontiguousarray(activations.index, np.int64)
        tensors[f"{key}/mean"] = np.ascontiguousarray(activations.mean, np.float32)
        tensors[f"{key}/percentiles"] = np.ascontiguousarray(activations.percentiles, np.float32)
    write_tensors(path, tensors, FORMAT, reference.model, reference.provenance)


def load(path: Path) -> Reference:
    """Read a reference set.

    Raises:
        MissingInputError: no such file.
        FormatError: damaged, or of another format.
    """
    tensors, model, provenance = read_tensors(path, FORMAT)
    sites: dict[str, Activations] = {}
    for key in dict.fromkeys(name.rpartition("/")[0] for name in tensors):
        parse_key(key)
        try:
            activations = Activations(*(tensors[f"{key}/{part}"] for part in ("index", "mean", "percentiles")))
        except KeyError as error:
            raise FormatError(f"{path} is no reference set: {error} is missing.") from error
        n, width = len(activations.index), model.geometry.widths.get(key, 0)
        has_right_shapes = (
            activations.mean.shape == (n,) and activations.percentiles.shape == (PERCENTILES, n) and n > 0
        )
        if (
            not has_right_shapes
            or activations.index.min() < 0
            or activations.index.max() >= width
            or (np.diff(activations.index) <= 0).any()
        ):
            raise FormatError(f"{path}: the activations of {key} do not have the shape of {n} of its {width} neurons.")
        if not (np.isfinite(activations.mean).all() and np.isfinite(activations.percentiles).all()):
            raise FormatError(f"{path}: the activations of {key} hold NaN or infinite values.")
        sites[key] = activations
    return Reference(sites, model, provenance)
