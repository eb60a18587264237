"""The output layer of a frozen model, kept fast.

Generation hands the output layer the last token of every prompt: a slice that is not contiguous in memory. torch multiplies it in
one product while the weight may need a gradient. If it is frozen, as PEFT leaves it, torch copies the whole weight once for every prompt of the
batch instead: `(prompts, hidden, vocabulary)` numbers. A contiguous slice avoids this (`benchmarks/frozen_head.py`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel


def keep_fast(model: PreTrainedModel) -> None:
    """Make what reaches the model's output layer contiguous from now on; a second call changes nothing."""
    head = model.get_output_embeddings()
    if head is not None and _contiguous not in head._forward_pre_hooks.values():
        head.register_forward_pre_hook(_contiguous)


def _contiguous(_head: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """The inputs of the layer, the first one contiguous."""
    return (inputs[0].contiguous(), *inputs[1:]) if inputs else inputs
