"""The `model_args` of `ssn_hf` and `ssn_vllm`, as values: the model, its adapter or checkpoint, and the interventions.

lm_eval splits the text at commas and equals signs, and makes numbers of values that look like numbers. So `+` joins several sets:
`neurons=a.json+b.json,op=suppress+scale:2,layers=0-11+12-23,positions=all`.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from ssn_eval.core import files, store
from ssn_eval.core.errors import MismatchError, MissingInputError, ParamsError
from ssn_eval.core.origin import ModelRef
from ssn_eval.core.store import NeuronFile
from ssn_eval.interventions import directions
from ssn_eval.interventions import reference as references
from ssn_eval.interventions.directions import Direction, DirectionOp
from ssn_eval.interventions.ops import Intervention, combine
from ssn_eval.interventions.plan import plan
from ssn_eval.interventions.reference import Reference
from ssn_eval.models import deltas, lineage, loading
from ssn_eval.models.deltas import Delta
from ssn_eval.models.loading import ModelSpec

SPEC = Path("artifacts/model/spec.json")
"""the pipeline's file that names its model"""
TRAINED = Path("artifacts/train/ssn")
"""the folder of the pipeline's SS-Neuron adapter"""
PIPELINE = "(the pipeline's)"
ABSENT = "(not given)"
"""the default of `op=`; None cannot be the default, because lm_eval can turn the text `none` into None"""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ModelArguments:
    """The arguments in `--model_args` that are ours; all others belong to lm_eval's class."""

    neurons: str | None = None
    """a neuron set (`.json` or `.safetensors`), or several joined by `+`"""
    op: str | None = ABSENT
    """`suppress` (the default where `neurons` is given), `scale:<number>`, `mean`, `set:<quantile>` or `none`"""
    layers: str | int | None = None
    """only neurons in these layers, for example `0-11`; `op`, `layers` and `positions` take one value for all sets, or one value for
    each set, joined by `+`"""
    positions: str | None = None
    """`prompt`, `generated` or `all` (the default)"""
    reference: str | None = None
    """the activations that `mean` and `set:<quantile>` need (`ssn reference`)"""
    direction: str | None = None
    """a refusal direction (`ssn direction`) in place of neurons, with `op=direction:ablate` or `op=direction:add:<number>`"""
    adapter: str | None = PIPELINE
    """a neuron-LoRA folder; checked against the base model"""
    checkpoint: str | None = None
    """a fine-tuned model's folder, or a sparse delta; checked against the base model"""
    other_model: bool = False
    """allow a set, adapter or checkpoint made on other weights of the same shape"""

    @classmethod
    def taken(cls, kwargs: dict[str, Any]) -> ModelArguments:
        """Take these arguments out of all arguments; what is left is lm_eval's."""
        return cls(**{field.name: kwargs.pop(field.name) for field in fields(cls) if field.name in kwargs})

    def treatment(self) -> Treatment:
        """The interventions, read from their files.

        Raises:
            SsnError: the errors of `treatment` and `direction_treatment`.
        """
        if not self.direction:
            return treatment(self.neurons, self.op, self.layers, self.positions, self.reference)
        others = {name: getattr(self, name) for name in ("neurons", "layers", "positions", "reference")}
        return direction_treatment(self.direction, self.op, others)

    def wanted_adapter(self) -> str | None:
        """The adapter; a checkpoint takes the place of the pipeline's."""
        return None if self.checkpoint is not None and self.adapter == PIPELINE else self.adapter


@dataclass(frozen=True)
class Treatment:
    """The interventions of a run, read from files."""

    interventions: tuple[Intervention, ...] = ()
    sets: tuple[NeuronFile, ...] = ()
    reference: Reference | None = None
    direction: Direction | None = None
    direction_op: DirectionOp | None = None

    @property
    def op(self) -> str:
        """The ops, joined by `+`; `none` if the model is unchanged."""
        if self.direction_op:
            return str(self.direction_op)
        return "+".join(str(intervention.op) for intervention in self.interventions) or "none"

    def everywhere(self) -> bool:
        """Whether prompt tokens and generated tokens are changed in the same way."""
        return all(intervention.positions == "all" for intervention in self.interventions)

    def identity(self) -> str:
        """The change of every neuron or of the residual stream, as a text; empty if the model is unchanged."""
        if self.direction:
            return f"{self.direction_op} {hashlib.sha256(self.direction.difference.tobytes()).hexdigest()} {self.direction.layer}"
        if not self.sets:
            return ""
        changes = plan(self.sets[0].model.geometry, self.interventions, self.reference)
        return str(changes) if changes.keys() else ""

    def refuse_other(self, live: ModelRef, ancestors: Sequence[ModelRef], other_model: bool) -> None:
        """Stop if a set or the reference belongs to another model.

        Raises:
            MismatchError: one belongs to another model; with `other_model`, only if the shapes differ as well.
        """
        refs = [(file.model, "The neuron set") for file in self.sets]
        refs += [(self.reference.model, "The reference set")] if self.reference else []
        refs += [(self.direction.model, "The direction")] if self.direction else []
        for ref, description in refs:
            if not (other_model and ref.geometry.to_json() == live.geometry.to_json()):
                lineage.refuse_other(ref, live, ancestors, description)


def treatment(neurons: Any, op: Any, layers: Any, positions: Any, reference: str | None) -> Treatment:
    """Read `neurons=`, `op=`, `layers=`, `positions=` and `reference=`.

    Raises:
        SsnError: a file or an argument is missing, a name is unknown, a set has no neuron to change, or a neuron would get two changes.
    """
    presence = {"op": op not in (ABSENT, None, "none"), "layers": layers is not None, "positions": positions is not None,
                "reference": reference is not None}  # fmt: skip
    if neurons is None:
        for name in (name for name, is_given in presence.items() if is_given):
            raise ParamsError(f"{name}= needs a neuron set: add neurons=FILE to model_args.")
        return Treatment()
    sets = tuple(store.load_neurons(Path(path)) for path in _paths(str(neurons)))
    ops = "suppress" if op == ABSENT else op
    parts = [[None] if value is None else str(value).split("+") for value in (ops, layers, positions)]
    interventions = combine([file.neurons for file in sets], *parts)
    needs_reference = any(intervention.op.source is not None for intervention in interventions)
    if needs_reference and reference is None:
        raise ParamsError(f"op={op} needs reference=FILE, the activations that `ssn reference` measures.")
    if reference is not None and not needs_reference:
        raise ParamsError(f"reference= goes with the ops mean and set:<quantile>, not with {ops}.")
    activations = references.load(Path(reference)) if reference is not None else None
    result = Treatment(tuple(interventions), sets, activations)
    result.identity()  # an impossible change is reported before the model is loaded, which can take minutes
    return result


def direction_treatment(direction: str, op: Any, others: Mapping[str, Any]) -> Treatment:
    """Read `direction=` with `op=direction:ablate` (the default) or `op=direction:add:<number>`.

    Raises:
        SsnError: the file or the op cannot be read, or an argument that goes with neurons is given.
    """
    for name in (name for name, value in others.items() if value is not None):
        raise ParamsError(f"{name}= goes with neurons, not with direction=; give one of the two.")
    parsed = directions.parse_op("direction:ablate" if op in (ABSENT, None) else str(op))
    return Treatment(direction=directions.load(Path(direction)), direction_op=parsed)


def model_spec(pretrained: Any, adapter: str | None, kwargs: dict[str, Any]) -> tuple[ModelSpec | None, str | None]:
    """The model and the adapter that are named, or those of the pipeline in the current folder.

    Values of the pipeline's spec that `kwargs` lacks are added to it.

    Raises:
        ParamsError: an adapter is named beside a loaded model.
        MissingInputError: no model is named and the current folder holds no finished pipeline.
    """
    adapter = None if adapter == "none" else adapter  # on the command line, lm_eval passes it as text
    if pretrained is not None and not isinstance(pretrained, str):
        if adapter not in (None, PIPELINE):
            raise ParamsError("adapter= needs pretrained= as a hub id or a folder, not a loaded model.")
        return None, None
    if pretrained is None:
        if not Path("dvc.yaml").is_file() or not SPEC.is_file():
            raise MissingInputError(
                "No model was named and there is no finished pipeline in the current folder; pass "
                "--model_args pretrained=<hub id or folder>, or run `dvc repro` first."
            )
        spec = loading.read_spec(SPEC)
        for name in ("revision", "gguf_file", "dtype", "chat_template_args"):
            if getattr(spec, name) and name not in kwargs:
                kwargs[name] = getattr(spec, name)
        if adapter == PIPELINE:
            adapter = str(TRAINED) if (TRAINED / "adapter_config.json").is_file() else None
            logger.warning("ssn_hf: the pipeline's model %s, adapter %s", spec.pretrained or spec.package, adapter)
    else:
        package = pretrained.removeprefix("package:") if pretrained.startswith("package:") else None
        spec = ModelSpec("" if package else pretrained, kwargs.get("revision"), kwargs.get("gguf_file"), package)
        adapter = None if adapter == PIPELINE else adapter
    return loading.locate(spec), adapter


@dataclass(frozen=True)
class Checkpoint:
    """Weights that replace those of the base model: all of them (a folder), or some (a sparse delta)."""

    path: Path
    base: ModelRef
    delta: Delta | None = None

    def refuse_other_base(self, live: ModelRef) -> None:
        """Stop if the checkpoint was not made from this base model.

        Raises:
            MismatchError: type, shape or weights differ.
        """
        self.base.refuse_other(live, f"The checkpoint {self.path.name}")

    def identity(self) -> str:
        """A hash of the weights."""
        return files.sha256(self.path)


def checkpoint(path: str | None) -> Checkpoint | None:
    """Read `checkpoint=`: a folder whose `ssn.json` names its base, or a delta file.

    Raises:
        MissingInputError, FormatError: the path is neither.
        MismatchError: the folder does not say which model it was made from.
    """
    if path is None:
        return None
    weights = Path(path)
    if not weights.is_dir():
        delta = deltas.load(weights)
        return Checkpoint(weights, delta.base, delta)
    if not (weights / "config.json").is_file():
        raise MissingInputError(f"No checkpoint in {weights}: it holds no config.json; name an adapter with adapter=.")
    bases = lineage.bases(weights)
    if not bases:
        raise MismatchError(
            f"The checkpoint {weights} has no {lineage.FILE} that says which model it was made from, so it cannot be checked against "
            f"a base; load it as pretrained={weights}."
        )
    return Checkpoint(weights, bases[0])


def _paths(text: str) -> list[str]:
    """The paths in a text, which `+` separates; a single file may have a `+` in its name."""
    return [text] if Path(text).is_file() else text.split("+")
