"""Prompts of mixed length as padded batches: padded on the right, so that no real token ever sees a pad."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
    last: torch.Tensor
    """(batch,), index of the last real token"""


def batches(inputs: Sequence[Sequence[int]], batch_size: int, device: torch.device | str) -> Iterator[Batch]:
    """Cut prompts, longest first so that memory peaks at once, into padded batches."""
    import torch

    order = sorted(range(len(inputs)), key=lambda i: (-len(inputs[i]), i))
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        lengths = torch.tensor([len(inputs[i]) for i in rows])
        ids = torch.zeros(len(rows), int(lengths.max()), dtype=torch.long)
        for row, i in enumerate(rows):
            ids[row, : lengths[row]] = torch.tensor(list(inputs[i]))
        mask = (torch.arange(ids.shape[1]) < lengths[:, None]).long()
        yield Batch(rows, ids.to(device), mask.to(device), (lengths - 1).to(device))


def last_states(model, batch: Batch) -> torch.Tensor:  # noqa: ANN001
    """`z`: hidden state after the last norm at each prompt's last token, (batch, hidden)."""
    import torch

    from ssn_eval.architectures import decoder

    out = decoder(model)(input_ids=batch.input_ids, attention_mask=batch.attention_mask, use_cache=False)
    hidden = out.last_hidden_state
    return hidden[torch.arange(len(batch.rows), device=hidden.device), batch.last.to(hidden.device)]
