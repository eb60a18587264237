"""`ssn_eval.cli` under DeepSpeed on CPUs: `accelerate launch --config_file docs/howto/deepspeed.yaml tests/deepspeed_on_cpu.py train …`.

accelerate starts DeepSpeed's processes on GPUs only; on CPUs each would train alone. DeepSpeed itself runs on CPUs with gloo.
Here accelerate's state has that backend, as it would have NCCL on GPUs; all that follows is the code that runs there.
"""

from __future__ import annotations

import os
from typing import Any

import torch
from accelerate.state import PartialState
from accelerate.utils import DistributedType

from ssn_eval.cli import main


def with_gloo(_self: PartialState, *_args: Any, **_keywords: Any) -> tuple[str, DistributedType]:
    """The backend of several processes."""
    return "gloo", DistributedType.MULTI_GPU


def on_cpu(self: PartialState) -> None:
    """The device of every process."""
    self.device = torch.device("cpu")


if __name__ == "__main__":
    assert os.environ["ACCELERATE_USE_DEEPSPEED"] == "true"
    os.environ.pop("ACCELERATE_USE_CPU", None)  # it would turn DeepSpeed off
    os.environ |= {"DS_ACCELERATOR": "cpu", "LOCAL_SIZE": os.environ["WORLD_SIZE"]}
    PartialState._prepare_backend = with_gloo  # type: ignore[method-assign]
    PartialState.set_device = on_cpu  # type: ignore[method-assign]
    main()
