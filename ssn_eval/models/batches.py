"""Prompts of mixed length as padded batches: padded on the right, so that no real token ever sees a pad."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import torch


class Batch(NamedTuple):
    """One padded batch."""

    rows: list[int]
    """positions of its prompts in the input"""
    input_ids: torch.Tensor
    """(batch, time), padded with 0"""
    attention_mask: torch.Tensor
    """(batch, time), 1 on real tokens"""
    spans: list[tuple[int, int]]
    """the tokens `[first, end)` of each row that are read"""


def cut(order: Sequence[int], lengths: Sequence[int], batch_size: int) -> list[list[int]]:
    """Cut prompts into batches of like length, longest first so that memory peaks at once."""
    longest = sorted(order, key=lambda i: (-lengths[i], i))
    return [longest[start : start + batch_size] for start in range(0, len(longest), batch_size)]


@dataclass(frozen=True)
class Padded:
    """Prompts of mixed length; a call with positions gives them as one padded batch."""

    inputs: Sequence[Sequence[int]]
    """token ids, one sequence a prompt"""
    spans: Sequence[tuple[int, int]]
    """the tokens `[first, end)` of each that are read"""
    device: torch.device | str

    @property
    def lengths(self) -> list[int]:
        """Tokens of every prompt."""
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
