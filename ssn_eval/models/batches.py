"""Prompts of mixed length as padded batches. The padding is on the right, so no token of a prompt attends to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import torch


class Batch(NamedTuple):
    """One padded batch."""

    rows: list[int]
    """positions of the batch's prompts in the input"""
    input_ids: torch.Tensor
    """(batch, time), padded with 0"""
    attention_mask: torch.Tensor
    """(batch, time), 1 on tokens of a prompt, 0 on padding"""
    spans: list[tuple[int, int]]
    """of each row, the tokens `[first, end)` whose hidden states are read out"""


def cut(order: Sequence[int], lengths: Sequence[int], batch_size: int) -> list[list[int]]:
    """Split prompts into batches of similar length. The longest come first, so the first batch needs the most memory."""
    longest_first = sorted(order, key=lambda i: (-lengths[i], i))
    return [longest_first[start : start + batch_size] for start in range(0, len(longest_first), batch_size)]


@dataclass(frozen=True)
class Padded:
    """Prompts of mixed length; a call with positions returns the prompts there as one padded batch."""

    inputs: Sequence[Sequence[int]]
    """token ids, one sequence for each prompt"""
    spans: Sequence[tuple[int, int]]
    """of each prompt, the tokens `[first, end)` whose hidden states are read out"""
    device: torch.device | str

    @property
    def lengths(self) -> list[int]:
        """Number of tokens of each prompt."""
        return [len(ids) for ids in self.inputs]

    def __call__(self, rows: Sequence[int]) -> Batch:
        """The prompts at these positions, padded."""
        import torch

        lengths = torch.tensor([len(self.inputs[i]) for i in rows])
        ids = torch.zeros(len(rows), int(lengths.max()), dtype=torch.long)
        for row, i in enumerate(rows):
            ids[row, : lengths[row]] = torch.tensor(list(self.inputs[i]))
        mask = (torch.arange(ids.shape[1]) < lengths[:, None]).long()
        return Batch(list(rows), ids.to(self.device), mask.to(self.device), [self.spans[i] for i in rows])
