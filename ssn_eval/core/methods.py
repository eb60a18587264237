"""The table of training methods: which weights are trained, and with which loss. It needs no model and no torch.

A method is a row of `methods` in `params.yaml`. `set` names the neurons that are trained; `weights` says how: `neurons` as
a neuron-LoRA (METHOD.md, section 3), `mask` by masking the gradients of the full model (the paper's `θ ← θ − η (M ⊙ ∇L)`, the
reference that neuron-LoRA equals), `lora` as an ordinary low-rank adapter, `full` every weight. `loss` is `sft` (the paper's: cross
entropy of the response) or a preference loss. Every set, preset and control is a method too: `sft` on its neurons.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Literal, get_args

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from ssn_eval.core.errors import ParamsError, UnknownNameError

Weights = Literal["neurons", "mask", "lora", "full"]
Loss = Literal["sft", "dpo", "rdpo", "kto", "orpo", "simpo", "mpo"]
WEIGHTS: tuple[Weights, ...] = get_args(Weights)
LOSSES: tuple[Loss, ...] = get_args(Loss)
NEEDS_TRL: tuple[Loss, ...] = ("dpo", "kto", "orpo", "simpo")
"""losses that TRL implements; this project implements the others"""

_BETA: Mapping[str, float] = {
    "sft": 0.0,
    "dpo": 0.1,
    "rdpo": 0.1,
    "kto": 0.1,
    "orpo": 0.1,
    "simpo": 2.0,
    "mpo": 1.0,
}
"""TRL's defaults; SimPO's and MPO's from their papers (arXiv 2405.14734, 2505.16869)"""


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Method:
    """One row of the table."""

    set: str | None = None
    """a named set, preset or control; needed by `neurons` and `mask`"""
    weights: Weights = "neurons"
    loss: Loss = "sft"
    lr: float | None = None
    """the learning rate; None: `train.lr`, or `train.lr_full` if every weight is trained"""
    beta: float | None = None
    """β of a preference loss; None: the default of that loss"""
    gamma: float = 1.0
    """SimPO's target margin"""
    alpha: float = 0.05
    """R-DPO's weight of the length difference, in tokens"""
    rank: int = 8
    """rank of `lora`; its scale is 2"""

    def __post_init__(self) -> None:
        for name in ("lr", "beta"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise ParamsError(f"A training method's {name} must be a finite number above 0, got {value}.")
        for name in ("gamma", "alpha"):
            if not math.isfinite(getattr(self, name)):
                raise ParamsError(f"A training method's {name} must be finite, got {getattr(self, name)}.")
        if self.rank < 1:
            raise ParamsError(f"A training method's rank must be at least 1, got {self.rank}.")

    @property
    def on_neurons(self) -> bool:
        """Whether the method trains only the weights of a neuron set."""
        return self.weights in ("neurons", "mask")

    @property
    def strength(self) -> float:
        """β: the given value, or the default of the loss."""
        return _BETA[self.loss] if self.beta is None else self.beta


METHODS: Mapping[str, Method] = MappingProxyType(
    {
        "ssn": Method("ss"),
        "ms_hr": Method("ms_hr"),
        "private": Method("private"),
        "random": Method("random_0"),
        "grad_mask": Method("ss", "mask"),
        "lora": Method(weights="lora"),
        "full": Method(weights="full"),
        **{loss: Method(weights="full", loss=loss) for loss in LOSSES if loss != "sft"},
        **{f"{loss}_ssn": Method("ss", loss=loss) for loss in LOSSES if loss != "sft"},
    }
)
"""the built-in methods; those of `params.yaml` are added to them"""


def check(name: str, row: Method) -> None:
    """Check that the keys of a row fit together.

    Raises:
        ParamsError: the method trains neurons but names no set, or names a set that it does not use.
    """
    if row.on_neurons and not row.set:
        raise ParamsError(f"methods.{name} trains {row.weights} but names no set; add set: ss, or weights: full.")
    if not row.on_neurons and row.set:
        raise ParamsError(
            f"methods.{name} names the set {row.set}, which weights: {row.weights} does not use; leave one of them out."
        )


def method_for(name: str, *, has_neurons: bool) -> Method:
    """The built-in method of this name, for a run that has a neuron set, or has none.

    With a neuron set, a preference loss trains those neurons in place of every weight.

    Raises:
        UnknownNameError: there is no such method.
        ParamsError: the method needs a neuron set and there is none, or the other way round.
    """
    if name not in METHODS:
        raise UnknownNameError("training method", name, METHODS)
    method = METHODS[name]
    if method.on_neurons and not has_neurons:
        raise ParamsError(
            f"The method {name} trains chosen neurons: give --neurons FILE, or a method that needs none (full, lora, dpo)."
        )
    if method.on_neurons or not has_neurons:
        return method
    if method.loss == "sft":
        raise ParamsError(f"The method {name} trains no neuron set; leave --neurons out, or choose ssn or grad_mask.")
    return replace(method, weights="neurons", set="ss")
