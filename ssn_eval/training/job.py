"""The inputs of one run of a Trainer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ssn_eval.core.methods import Method
from ssn_eval.core.neurons import NeuronSet
from ssn_eval.prompts.pairs import Pair

if TYPE_CHECKING:
    import torch
    from peft import PeftModel
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


class Job(NamedTuple):
    """The inputs of one run of a Trainer."""

    model: PreTrainedModel | PeftModel
    tokenizer: PreTrainedTokenizerBase
    pairs: Sequence[Pair]
    method: Method
    max_length: int
    hr: str
    arguments: Mapping[str, Any]
    """keywords of `TrainingArguments`"""
    masks: Mapping[str, torch.Tensor] | None = None
    """of masked gradients: parameter name → 1 where it may move; None for other methods"""
    neurons: NeuronSet | None = None
    """the set of a method that uses one"""

    @property
    def pad(self) -> int:
        """The token that fills a batch."""
        token: Any = self.tokenizer.pad_token_id
        return int(token or 0)
