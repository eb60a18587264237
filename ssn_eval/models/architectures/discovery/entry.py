"""The door to discovery: a model as a user has it, wrapped or not, in train or eval mode."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import torch

from ssn_eval.models.architectures.discovery import finding
from ssn_eval.models.architectures.found import Found


def discover(model: Any) -> Found:
    """Find the sites of a model; an adapter on it is off meanwhile, and everything is as before afterwards.

    Raises:
        ArchitectureError: as `finding.discover`.
    """
    wrapped = hasattr(model, "peft_config")
    bare = model.get_base_model() if wrapped else model
    modes = [(module, module.training) for module in bare.modules()]
    state = torch.get_rng_state()
    try:
        with model.disable_adapter() if wrapped else nullcontext():
            bare.eval()
            return finding.discover(bare)
    finally:
        torch.set_rng_state(state)
        for module, training in modes:
            module.training = training
