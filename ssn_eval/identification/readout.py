r"""The output that importance is measured on: an output of the model (`target`) at some tokens (`position`).

`I(N, x) = sqrt(mean over the tokens T of ‖y_t − y_{t,\N}‖₂²)`; for one token this is the norm itself.

| target | y |
|---|---|
| `hidden` (the paper) | the hidden state after the last norm, `z` |
| `logits` | what the output head makes of `z`: only changes that can change a token count |

| position | T |
|---|---|
| `last` (default) | the last prompt token, where the model decides how to begin its answer |
| `mean` | every prompt token: also counts what a neuron does to earlier states that the answer never reads |
| `response` | the tokens of a given response (prompt files with `response`): the neurons that continue the answer, not those that begin it |
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ssn_eval.core.errors import ArchitectureError, EmptySetError
from ssn_eval.models.architectures.resolving import decoder
from ssn_eval.models.batches import Batch

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class Readout:
    """A target at positions."""

    position: str = "last"
    target: str = "hidden"

    def spans(self, lengths: Sequence[int], prompt_lengths: Sequence[int] | None) -> list[tuple[int, int]]:
        """The tokens `[first, end)` of each sequence that are read.

        Args:
            lengths: tokens of each sequence.
            prompt_lengths: how many of them are the prompt; all, if there are no responses.

        Raises:
            EmptySetError: `response` was asked for and a sequence has none.
        """
        prompts = list(lengths) if prompt_lengths is None else list(prompt_lengths)
        if self.position == "response":
            if any(prompt >= length for prompt, length in zip(prompts, lengths, strict=True)):
                raise EmptySetError(
                    "position=response reads the tokens of responses, and a prompt has none; give a prompt file whose "
                    "rows have `response`, or use position=last."
                )
            return list(zip(prompts, lengths, strict=True))
        return [(prompt - 1 if self.position == "last" else 0, prompt) for prompt in prompts]

    def read(self, model: PreTrainedModel, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Run the model on a batch.

        Returns:
            y of the tokens that are read, one after the other, (tokens, width), and the row of each, (tokens,).

        Raises:
            ArchitectureError: `logits` of a model without an output head.
        """
        import torch

        out = decoder(model)(input_ids=batch.input_ids, attention_mask=batch.attention_mask, use_cache=False)
        hidden = out.last_hidden_state
        rows, times = (torch.tensor(index, device=hidden.device) for index in zip(*_read(batch.spans), strict=True))
        y = hidden[rows, times]
        return (self._head(model)(y) if self.target == "logits" else y), rows

    def _head(self, model: PreTrainedModel) -> Any:
        head = model.get_output_embeddings()
        if head is None:
            raise ArchitectureError(
                f"target=logits needs an output head, and this {model.config.model_type} model has none; use target=hidden."
            )
        return head


def _read(spans: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """`(row, time)` of every token that is read."""
    return [(row, time) for row, (first, end) in enumerate(spans) for time in range(first, end)]
