"""Models take turns on a device: who comes makes the others leave."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import torch

from ssn_eval.models import residency


class Guest:
    """Counts how often it had to leave."""

    def __init__(self) -> None:
        self.left = 0

    def leave(self) -> None:
        self.left += 1


def test_who_enters_makes_the_others_leave_and_not_itself() -> None:
    one, two = Guest(), Guest()
    residency.enter(one)
    residency.enter(one)
    assert one.left == 0
    residency.enter(two)
    assert (one.left, two.left) == (1, 0)
    residency.enter(one)
    assert (one.left, two.left) == (1, 1)


def test_a_dropped_resident_is_forgotten() -> None:
    guest = Guest()
    residency.enter(guest)
    assert guest in residency._residents
    gone = weakref.ref(guest)
    del guest
    gc.collect()
    assert gone() is None, "kept alive, with its weights"


def test_a_model_moves_unless_it_is_quantised_or_spread() -> None:
    model: Any = torch.nn.Linear(2, 2)
    assert residency.move(model, "meta") and model.weight.device.type == "meta"
    quantised: Any = torch.nn.Linear(2, 2)
    quantised.is_quantized = True
    assert not residency.move(quantised, "meta") and quantised.weight.device.type == "cpu"
    spread: Any = torch.nn.Linear(2, 2)
    spread.hf_device_map = {"a": 0, "b": 1}
    assert not residency.move(spread, "meta")
    spread.hf_device_map = {"": 0}
    assert residency.move(spread, "meta")
