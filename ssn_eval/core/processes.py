"""The processes of a run: those that `accelerate launch` started, or a single one."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from ssn_eval.core.errors import ParamsError

if TYPE_CHECKING:
    from accelerate import PartialState

T = TypeVar("T")


@dataclass(frozen=True)
class Share:
    """The rank of this process, the number of processes, and the function that adds up their values."""

    rank: int = 0
    world: int = 1
    add: Callable[[np.ndarray], np.ndarray] = lambda values: values
    """elementwise sum over all processes"""


def share() -> Share:
    """The share of this process (accelerate; gloo on CPUs, NCCL on GPUs).

    Raises:
        ParamsError: accelerate sees another number of processes than were started.
    """
    if count() < 2:
        return Share()
    import torch
    from accelerate import Accelerator

    accelerator = Accelerator()

    def add(values: np.ndarray) -> np.ndarray:
        local_values = torch.from_numpy(values).to(accelerator.device)
        return accelerator.reduce(local_values, reduction="sum").cpu().numpy()  # type: ignore[union-attr]

    if accelerator.num_processes != count():
        raise ParamsError(
            f"{count()} processes were started, but accelerate sees {accelerator.num_processes}, and each would do all of the work; "
            f"on CPUs set ACCELERATE_USE_CPU=true."
        )
    return Share(accelerator.process_index, accelerator.num_processes, add)


def state() -> PartialState:
    """The process state of accelerate; `ACCELERATE_USE_CPU` is passed on, because accelerate does not read it here."""
    from accelerate import PartialState
    from accelerate.utils import parse_flag_from_env

    return PartialState(cpu=parse_flag_from_env("ACCELERATE_USE_CPU"))


def from_first(value: T) -> T:
    """The first process's value, on every process."""
    if count() < 2:
        return value
    from accelerate.utils import broadcast_object_list

    state()
    return broadcast_object_list([value])[0]


def count() -> int:
    """The number of processes."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_main() -> bool:
    """Whether this process writes the results."""
    return int(os.environ.get("RANK", "0")) == 0
