"""What other libraries say and a user can do nothing about is not shown: their progress bars, notes on their own future, a few known lines.

Every other warning of theirs is shown.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Mapping

KNOWN: Mapping[str, tuple[str, ...]] = {
    "lm_eval.api.task": ("Custom kwargs can be passed to `--metadata`",),  # of every task whose data lie in memory
    "lm_eval.evaluator_utils": (
        "Metrics were not scored on the same number of",
    ),  # a rate leaves out what it cannot judge
    "lm_eval.models.huggingface": (  # where a loaded model is evaluated, which is meant
        "`pretrained` model kwarg is not of type `str`",
        "Passed an already-initialized model through `pretrained`",
    ),
    "transformers.quantizers.quantizer_gguf": (
        "with its weights packed is fastest in float32",
    ),  # the weights are not kept packed
    "transformers.trainer_utils": (
        "mtime may not be reliable",
    ),  # checkpoints of one second are sorted by their number
    "torchao": (
        "Failed to load",
    ),  # its kernels are for a GPU; where torchao is installed, transformers and PEFT import it
    "torch.utils._pytree": ("is an Enum subclass and is now natively supported",),  # said of torchao's own types
}
"""logger → parts of the messages that are not shown"""


class _Unknown(logging.Filter):
    """Lets a message pass unless it holds one of some parts."""

    def __init__(self, parts: tuple[str, ...]) -> None:
        super().__init__()
        self._parts = parts

    def filter(self, record: logging.LogRecord) -> bool:
        message = record.getMessage()
        return not any(part in message for part in self._parts)


def silence() -> None:
    """Silence them in this process and its children. Call it before the libraries are imported; a second call changes nothing."""
    os.environ.setdefault("TQDM_DISABLE", "1")
    for kind in (FutureWarning, DeprecationWarning):
        warnings.filterwarnings("ignore", category=kind)
    for name, parts in KNOWN.items():
        logger = logging.getLogger(name)
        if not any(isinstance(one, _Unknown) for one in logger.filters):
            logger.addFilter(_Unknown(parts))
