"""The model that an artefact belongs to, and the package versions that produced it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from ssn_eval.core.errors import FormatError, MismatchError
from ssn_eval.core.neurons import Geometry

_PACKAGES = ("ssn-eval", "torch", "transformers", "peft", "lm-eval", "numpy")


@dataclass(frozen=True)
class ModelRef:
    """The model that a file belongs to."""

    id: str
    """hub id or relative path, as the user gave it"""
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
        """Check that `what`, which belongs to this model, is not used on another one.

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
                f"same shape, another model. Identify neurons on this model, or pass other_model=True to use them anyway."
            )


def code_hash(packages: Sequence[str]) -> str:
    """A hash of every file of some packages of `ssn_eval`; it changes with the code, whatever its version says."""
    root = Path(__file__).resolve().parents[1]
    digest = hashlib.sha256()
    for package in sorted(packages):
        for path in sorted((root / package).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                digest.update(f"{path.relative_to(root).as_posix()}\0".encode())
                digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def versions() -> dict[str, str]:
    """Installed versions of the packages that a result depends on."""
    by_package = {}
    for name in _PACKAGES:
        try:
            by_package[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return by_package
