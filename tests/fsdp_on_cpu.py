"""`ssn_eval.cli` under FSDP2 on CPUs: `accelerate launch --config_file … tests/fsdp_on_cpu.py train …`.

accelerate shares weights on GPUs only; on CPUs it goes over to plain data parallelism, though torch's FSDP2 runs with gloo. Here its
state says FSDP, as it would on GPUs; all that follows is the code that runs there.
"""

from __future__ import annotations

import os
from typing import Any

from accelerate.state import AcceleratorState
from accelerate.utils import DistributedType

from ssn_eval.cli import main

plain = AcceleratorState.__init__


def with_fsdp(self: AcceleratorState, *args: Any, fsdp_plugin: Any = None, **keywords: Any) -> None:
    """Set up the state as on GPUs."""
    plain(self, *args, fsdp_plugin=fsdp_plugin, **keywords)
    if self.distributed_type == DistributedType.MULTI_CPU and fsdp_plugin is not None:
        self.distributed_type = DistributedType.FSDP
        if self._mixed_precision != "no":
            fsdp_plugin.set_mixed_precision(self._mixed_precision)
        self.fsdp_plugin = fsdp_plugin


if __name__ == "__main__":
    assert os.environ["ACCELERATE_USE_FSDP"] == "true"
    AcceleratorState.__init__ = with_fsdp  # type: ignore[method-assign]
    main()
