"""The settings with which a model can be trained on a device, from the model's config alone; `ssn doctor` shows them."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from ssn_eval.core.settings import TrainParams
from ssn_eval.models.memory import MARGIN, MemoryNeedError, Shape
from ssn_eval.training.memory import Demand, Plan, plan

USUAL_SHARE = 0.03
"""share of the weights that a neuron-LoRA moves, at p = 3 %"""


def demands(sizes: Shape, itemsize: int) -> dict[str, Demand]:
    """What the methods of training keep, by a name for each, from a model's sizes alone."""
    adapter = USUAL_SHARE * sizes.parameters  # beside as many fixed values, the one-hot matrices
    all_bytes = float(sizes.parameters * itemsize)
    return {
        "neurons": Demand(sizes, itemsize, adapter, extra=8 * adapter),
        "masked gradients": Demand(sizes, itemsize, sizes.parameters, itemsize, extra=all_bytes),
        "all weights": Demand(sizes, itemsize, sizes.parameters, itemsize),
    }


class Way(NamedTuple):
    """Settings and a number of devices with which training fits."""

    settings: TrainParams
    plan: Plan
    devices: int
    """that share the weights; each has as much free memory as this one"""
    need: float
    """bytes on each, weights included"""

    @property
    def changes(self) -> list[str]:
        """What has to be set; a smaller micro-batch and checkpointing are chosen by the run itself."""
        changed = [
            f"train.{k} {str(v).lower()}" for k, v in self.settings.recorded().items() if k in ("autocast", "optimizer")
        ]
        return changed + [f"{self.devices} devices that share the weights"] * (self.devices > 1)


def way(demand: Demand, settings: TrainParams, tokens: int, free: float) -> Way | None:
    """The least change with which training fits, or None: first of settings, then devices that share the weights.

    Args:
        demand: of a model and a method.
        settings: the batch, and what is set already.
        tokens: of the longest pair.
        free: bytes on one device, before the weights are loaded.
    """
    autocasts = [False, True] if demand.itemsize > 2 else [False]
    options = [
        (devices, replace(settings, autocast=autocast, optimizer=optimizer))
        for devices in (n for n in (1, 2, 4, 8, 16) if n == 1 or settings.batch_size % n == 0)
        for optimizer in ("adamw", "adafactor")
        for autocast in autocasts
    ]
    for devices, chosen in options:
        shared = replace(demand, shards=devices)
        batch = settings.batch_size // devices
        weights = shared.weights() * MARGIN
        try:
            fitting = plan(shared, chosen, batch=batch, rows=batch, tokens=tokens, available=free - weights)
        except MemoryNeedError:
            continue
        return Way(chosen, fitting, devices, weights + fitting.need)
    return None
