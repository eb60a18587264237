"""One process among several: what `accelerate launch` started, or this one alone."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ssn_eval.core.errors import ParamsError

if TYPE_CHECKING:
    from accelerate import PartialState


@dataclass(frozen=True)
class Share:
    """Which of several processes this is, and how their sums come together."""

    rank: int = 0
    world: int = 1
    add: Callable[[np.ndarray], np.ndarray] = lambda values: values
    """elementwise sum over all processes"""


def share() -> Share:
    """This process's share of the batches, and the sum over all processes (accelerate; gloo on CPUs, NCCL on GPUs)."""
    if count() < 2:
        return Share()
    import torch
    from accelerate import Accelerator

    accelerator = Accelerator()

    def add(values: np.ndarray) -> np.ndarray:
        mine = torch.from_numpy(values).to(accelerator.device)
        return accelerator.reduce(mine, reduction="sum").cpu().numpy()  # type: ignore[union-attr]

    if accelerator.num_processes != count():
        raise ParamsError(
            f"{count()} processes were started, but accelerate sees {accelerator.num_processes}, and each would do all of the work; "
            f"on CPUs set ACCELERATE_USE_CPU=true."
        )
    return Share(accelerator.process_index, accelerator.num_processes, add)


def state() -> PartialState:
    """What accelerate knows of the processes; it does not read by itself that they are for CPUs."""
    from accelerate import PartialState
    from accelerate.utils import parse_flag_from_env

    return PartialState(cpu=parse_flag_from_env("ACCELERATE_USE_CPU"))


def count() -> int:
    """How many processes there are."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_main() -> bool:
    """Whether this process writes the results."""
    return int(os.environ.get("RANK", "0")) == 0
