"""The table of training methods: which weights are trained, and with which loss. It needs no model and no torch.

A method is a row of `methods` in `params.yaml`. `set` names the neurons that are trained; `weights` says how: `neurons` as
a neuron-LoRA (METHOD.md, section 3), `mask` by masking the gradients of the full model (the paper's `θ ← θ − η (M ⊙ ∇L)`, the
reference that neuron-LoRA equals), `tied` as a neuron-LoRA in which similar neurons share one update (NeST), `complement` every weight but
theirs (SafeNeuron), `lora` as an ordinary low-rank adapter, `full` every weight. `loss` is `sft` (the paper's: cross entropy of the
response), `sft` with a further term (`sft_ablated`: with the set suppressed, NeuronGuard; `mlc`: the prompts of all languages alike), or a
preference loss. Every set, preset and control is a method too: `sft` on its neurons.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields, replace
from types import MappingProxyType
from typing import Any, Literal, get_args

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from ssn_eval.core.errors import ParamsError, UnknownNameError
from ssn_eval.core.settings import TrainParams

Weights = Literal["neurons", "mask", "tied", "complement", "lora", "full"]
Loss = Literal["sft", "dpo", "rdpo", "kto", "orpo", "simpo", "mpo", "sft_ablated", "mlc"]
WEIGHTS: tuple[Weights, ...] = get_args(Weights)
LOSSES: tuple[Loss, ...] = get_args(Loss)
NEEDS_TRL: tuple[Loss, ...] = ("dpo", "kto", "orpo", "simpo")
"""losses that TRL implements; this project implements the others"""
PREFERENCE: tuple[Loss, ...] = ("dpo", "rdpo", "kto", "orpo", "simpo", "mpo")
"""losses that hold a rejected response against the one to learn"""

_BETA: Mapping[str, float] = {
    "sft": 0.0,
    "dpo": 0.1,
    "rdpo": 0.1,
    "kto": 0.1,
    "orpo": 0.1,
    "simpo": 2.0,
    "mpo": 1.0,
    "sft_ablated": 1.0,
    "mlc": 0.8,
}
"""TRL's defaults; SimPO's, MPO's and NeuronGuard's from their papers (arXiv 2405.14734, 2505.16869, 2608.23959); MLC's from its authors'
configurations (github.com/Yuyan-B/MLC)"""


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Method:
    """One row of the table."""

    set: str | None = None
    """a named set, preset or control; needed by `neurons`, `mask`, `tied`, `complement` and the loss `sft_ablated`"""
    weights: Weights = "neurons"
    loss: Loss = "sft"
    lr: float | None = None
    """the learning rate; None: `train.lr`, or `train.lr_full` if every weight is trained"""
    beta: float | None = None
    """β of a preference loss, or the weight of the further term of `sft_ablated` (of its KL) and `mlc`; None: the default of that loss"""
    gamma: float = 1.0
    """SimPO's target margin"""
    alpha: float = 0.05
    """R-DPO's weight of the length difference, in tokens"""
    rank: int = 8
    """rank of `lora`; its scale is 2"""
    clusters: int = 8
    """of `tied`: the largest number of clusters in each layer and site (NeST's number was not to be had)"""
    tau: float = 0.2
    """of `mlc`: the temperature of the softmax over singular values (the default of its authors' code)"""
    width: int = 512
    """of `mlc`: the outputs of its linear extractor (likewise)"""
    responses: Literal["all", "hr"] = "all"
    """of `mlc`: the languages whose responses are learned; its paper learns those of HR alone"""

    def __post_init__(self) -> None:
        for name in ("lr", "beta", "tau"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise ParamsError(f"A training method's {name} must be a finite number above 0, got {value}.")
        for name in ("gamma", "alpha"):
            if not math.isfinite(getattr(self, name)):
                raise ParamsError(f"A training method's {name} must be finite, got {getattr(self, name)}.")
        for name in ("rank", "clusters", "width"):
            if getattr(self, name) < 1:
                raise ParamsError(f"A training method's {name} must be at least 1, got {getattr(self, name)}.")
        if self.loss == "sft_ablated" and self.on_neurons:
            raise ParamsError(
                "The loss sft_ablated suppresses the set, so that other weights learn to refuse, but weights: "
                f"{self.weights} trains that set alone; use weights: lora, complement or full."
            )

    @property
    def on_neurons(self) -> bool:
        """Whether the method trains only the weights of a neuron set."""
        return self.weights in ("neurons", "mask", "tied")

    @property
    def uses_set(self) -> bool:
        """Whether the method needs a neuron set: to train it, to hold it, or to suppress it."""
        return self.on_neurons or self.weights == "complement" or self.loss == "sft_ablated"

    @property
    def masks_gradients(self) -> bool:
        """Whether the gradients of the full model are masked, which weight decay would undo."""
        return self.weights in ("mask", "complement")

    @property
    def needs_rejected(self) -> bool:
        """Whether the loss needs a rejected response beside the one to learn."""
        return self.loss in PREFERENCE

    @property
    def strength(self) -> float:
        """β: the given value, or the default of the loss."""
        return _BETA[self.loss] if self.beta is None else self.beta

    def learning_rate(self, settings: TrainParams) -> float:
        """The peak learning rate: the row's own, or that of the settings for as many weights."""
        return self.lr or (settings.lr_full if self.weights in ("full", "complement") else settings.lr)

    def recorded(self) -> dict[str, Any]:
        """The row by name, without the constants of kinds of weights and losses that came later and that it does not use.

        So a row from before them has the same record, and with it the same name of its kept results.
        """
        users = {"clusters": "tied", "tau": "mlc", "width": "mlc", "responses": "mlc"}
        unused = {name for name, user in users.items() if user not in (self.weights, self.loss)}
        return {item.name: getattr(self, item.name) for item in fields(self) if item.name not in unused}


METHODS: Mapping[str, Method] = MappingProxyType(
    {
        "ssn": Method("ss"),
        "ms_hr": Method("ms_hr"),
        "private": Method("private"),
        "random": Method("random_0"),
        "grad_mask": Method("ss", "mask"),
        "lora": Method(weights="lora"),
        "full": Method(weights="full"),
        **{loss: Method(weights="full", loss=loss) for loss in PREFERENCE},
        **{f"{loss}_ssn": Method("ss", loss=loss) for loss in PREFERENCE},
        "complement": Method("ss", "complement"),
        "sft_ablated": Method("ss", "lora", "sft_ablated", rank=32),
        "tied": Method("ss", "tied"),
        "mlc": Method(weights="full", loss="mlc"),
        "mlc_hr": Method(weights="full", loss="mlc", responses="hr"),
        "mlc_ssn": Method("ss", loss="mlc"),
        "pathway": Method("pathway_hr", "mask"),
        "complement_random": Method("random_0", "complement"),
        "sft_ablated_random": Method("random_0", "lora", "sft_ablated", rank=32),
        "tied_random": Method("random_0", "tied"),
    }
)
"""the built-in methods; those of `params.yaml` are added to them"""


def check(name: str, row: Method) -> None:
    """Check that the keys of a row fit together.

    Raises:
        ParamsError: the method needs a set but names none, or names a set that it does not use.
    """
    if row.on_neurons and not row.set:
        raise ParamsError(f"methods.{name} trains {row.weights} but names no set; add set: ss, or weights: full.")
    if row.uses_set and not row.set:
        use = "suppresses a set" if row.loss == "sft_ablated" else "trains every weight outside a set"
        raise ParamsError(f"methods.{name} {use} but names none; add set: ss.")
    if not row.uses_set and row.set:
        raise ParamsError(
            f"methods.{name} names the set {row.set}, which weights: {row.weights} does not use; leave one of them out."
        )


def method_for(name: str, *, has_neurons: bool) -> Method:
    """The built-in method of this name, for a run that has a neuron set, or has none.

    With a neuron set, a preference loss and `mlc` train those neurons in place of every weight.

    Raises:
        UnknownNameError: there is no such method.
        ParamsError: the method needs a neuron set and there is none, or the other way round.
    """
    if name not in METHODS:
        raise UnknownNameError("training method", name, METHODS)
    method = METHODS[name]
    if method.uses_set and not has_neurons:
        use = "trains chosen neurons" if method.on_neurons else "needs a neuron set"
        raise ParamsError(
            f"The method {name} {use}: give --neurons FILE, or a method that needs none (full, lora, dpo)."
        )
    if method.uses_set or not has_neurons:
        return method
    if method.loss == "sft":
        raise ParamsError(f"The method {name} trains no neuron set; leave --neurons out, or choose ssn or grad_mask.")
    return replace(method, weights="neurons", set="ss")
