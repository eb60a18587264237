"""Several interventions → the change of every single neuron, on the prompt and on generated tokens. No torch, no files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from ssn_eval.core.errors import ConflictError, ParamsError
from ssn_eval.core.neurons import Geometry, Neuron, site_key
from ssn_eval.interventions.ops import NONE, Intervention, Op
from ssn_eval.interventions.reference import Reference

Changes = Mapping[int, tuple[float, float]]
"""index in a site → `(factor, constant)`: the activation `a` becomes `factor · a + constant`"""


class Plan(NamedTuple):
    """Site key → the changes there, in either phase."""

    prompt: Mapping[str, Changes]
    generated: Mapping[str, Changes]

    def keys(self) -> list[str]:
        """The sites that are touched in either phase."""
        return list(dict.fromkeys([*self.prompt, *self.generated]))


def plan(shape: Geometry, interventions: Sequence[Intervention], reference: Reference | None = None) -> Plan:
    """Resolve interventions for a model of that shape; nothing is touched.

    Raises:
        EmptySetError: a set holds no neuron, or none in the layers asked for.
        MismatchError: a neuron lies outside the model, or the reference was measured on another one.
        ConflictError: a neuron is in two sets, with two ops at the same positions.
        ParamsError: an op needs a reference and there is none, or a layer that the model does not have is named.
    """
    if reference is not None:
        reference.refuse_other_shape(shape)
    phases: dict[str, dict[Neuron, Op]] = {"prompt": {}, "generated": {}}
    for number, intervention in enumerate(interventions):
        shape.check(intervention.neurons)
        if intervention.layers is not None and intervention.layers.last >= shape.num_layers:
            raise ParamsError(
                f"The layers {intervention.layers} were asked for, but the model has {shape.num_layers}, 0 to {shape.num_layers - 1}."
            )
        if intervention.op.source is not None and reference is None:
            raise ParamsError(
                f"The op {intervention.op} needs a reference set of activations: measure one with `ssn reference` and name it "
                f"(reference=FILE)."
            )
        for phase, ops in phases.items():
            if intervention.positions in ("all", phase):
                _merge(ops, intervention, number, phase)
    return Plan(*(_by_site(ops, reference) for ops in phases.values()))


def _merge(ops: dict[Neuron, Op], intervention: Intervention, number: int, phase: str) -> None:
    for neuron in intervention.chosen():
        before = ops.setdefault(neuron, intervention.op)
        if before != intervention.op:
            raise ConflictError(
                f"Neuron {neuron.index} of {site_key(neuron.layer, neuron.site)} is in set {number + 1} with {intervention.op} and in an "
                f"earlier one with {before}, both on {phase} tokens; take it out of one set (`ssn diff` shows what they share), or "
                f"give them other layers or positions."
            )


def _by_site(ops: Mapping[Neuron, Op], reference: Reference | None) -> Mapping[str, Changes]:
    changes: dict[str, dict[int, tuple[float, float]]] = {}
    for neuron, op in sorted(ops.items(), key=lambda item: item[0]):
        if op != NONE:
            key = site_key(neuron.layer, neuron.site)
            constant = reference.constant(key, neuron.index, op.source) if reference and op.source is not None else 0.0
            changes.setdefault(key, {})[neuron.index] = (op.factor, constant)
    return changes
