"""The table of training methods: which weights move, and under which loss. Names and values; no model, no torch.

A method is a row of `methods` in `params.yaml`. `set` names the neurons that are trained; `weights` says how: `neurons` as
a neuron-LoRA (METHOD.md, section 3), `mask` by masking the gradients of the full model (the paper's `θ ← θ − η (M ⊙ ∇L)`, the
reference that neuron-LoRA equals), `lora` as an ordinary low-rank adapter, `full` every weight. `loss` is `sft` (the paper's: cross
entropy of the response) or a preference loss. Every set, preset and control is a method too: `sft` on its neurons.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal, get_args

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from ssn_eval.core.errors import ParamsError

Weights = Literal["neurons", "mask", "lora", "full"]
Loss = Literal["sft", "dpo", "rdpo", "kto", "orpo", "simpo", "mpo"]
WEIGHTS: tuple[Weights, ...] = get_args(Weights)
LOSSES: tuple[Loss, ...] = get_args(Loss)
NEEDS_TRL: tuple[Loss, ...] = ("dpo", "kto", "orpo", "simpo")
"""losses that TRL brings; the others are written here"""

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
    """`train.lr`, or `train.lr_full` where every weight moves, unless it is given"""
    beta: float | None = None
    """the preference losses' β, each with its own default"""
    gamma: float = 1.0
    """SimPO's target margin"""
    alpha: float = 0.05
    """R-DPO's weight of the length difference, in tokens"""
    rank: int = 8
    """of `lora`; its scale is 2"""

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
        """Whether chosen neurons decide which weights move."""
        return self.weights in ("neurons", "mask")

    @property
    def strength(self) -> float:
        """β: as given, or the loss's default."""
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
"""what `params.yaml` is merged into"""


def check(name: str, row: Method) -> None:
    """Refuse a row whose keys do not go together.

    Raises:
        ParamsError: neurons to train without a set, or a set that nothing would use.
    """
    if row.on_neurons and not row.set:
        raise ParamsError(f"methods.{name} trains {row.weights} but names no set; add set: ss, or weights: full.")
    if not row.on_neurons and row.set:
        raise ParamsError(
            f"methods.{name} names the set {row.set}, which weights: {row.weights} does not use; leave one of them out."
        )
