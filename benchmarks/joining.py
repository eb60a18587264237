"""Greedy replies in a batch whose finished rows make room: the next prompt takes the place of a reply that has ended.

`generate` writes a few tokens at a time. Between two such calls finished rows leave, the padding that all rows share is cut off, and new
prompts join. Every row is padded on the left. `refilling.py` measures it; `docs/interventions.md` says why the package does not do it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

STEP = 8
"""tokens that are written between two looks at the rows; a finished row idles for fewer than so many"""
REFILL = 4
"""new prompts join once a quarter of the rows is free, because reading them costs a pass over the weights"""
CACHE = ("cache", "past_key_values")
"""what transformers calls the cache since 5.24, and before"""


def padded(prompts: Sequence[Sequence[int]], pad: int, device: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and mask, `(prompts, time)`, padded on the left."""
    width = max(map(len, prompts))
    ids = torch.tensor([[pad] * (width - len(prompt)) + list(prompt) for prompt in prompts], device=device)
    mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts], device=device)
    return ids, mask


class Reply(NamedTuple):
    """A finished reply."""

    prompt: int
    """the position of its prompt"""
    tokens: list[int]
    """the reply up to the limit; what lies behind an end token or a stop sequence does not belong to it"""


@dataclass
class Rows:
    """The rows that are being written, `(rows, time)`. The cache holds all columns but the last."""

    prompts: list[int]
    """of each row, the position of its prompt"""
    starts: list[int]
    """of each row, the column where its reply begins"""
    ids: torch.Tensor
    mask: torch.Tensor
    cache: dict[str, Any]
    """the cache, under the name that `generate` has for it"""

    @property
    def layers(self) -> Any:
        """Keys and values of each layer, `(rows, heads, time, width)`."""
        return next(iter(self.cache.values())).layers


def joined_replies(
    generate: Callable[..., Any],
    prompts: Sequence[Sequence[int]],
    *,
    rows: int,
    max_new_tokens: int,
    pad: int,
    device: torch.device | str,
    has_ended: Callable[[list[int]], bool],
) -> Iterator[Reply]:
    """Answer prompts greedily; replies come in the order in which they end.

    Args:
        generate: of the model; called with `input_ids`, `attention_mask`, `max_length`, `return_dict_in_generate` and the cache.
        prompts: token ids; prompts of similar length should follow each other.
        rows: the most rows at once.
        max_new_tokens: the longest reply.
        pad: the padding token.
        device: of the model.
        has_ended: whether these tokens of a reply hold an end token or a stop sequence.
    """
    waiting = list(range(len(prompts)))[::-1]
    running: Rows | None = None
    while waiting or running:
        free = rows - (len(running.prompts) if running else 0)
        if running is None or (waiting and free * REFILL >= rows):
            chosen = [waiting.pop() for _ in range(min(free, len(waiting)))]
            fresh = begun(generate, [prompts[i] for i in chosen], chosen, pad, device)
            running = fresh if running is None else joined(running, fresh, pad)
        else:
            left = max_new_tokens - min(running.ids.shape[1] - start for start in running.starts)
            running = continued(generate, running, min(STEP, left))
        going = []
        for row, (prompt, start) in enumerate(zip(running.prompts, running.starts, strict=True)):
            tokens = running.ids[row, start : start + max_new_tokens].tolist()
            if len(tokens) == max_new_tokens or has_ended(tokens):
                yield Reply(prompt, tokens)
            else:
                going.append(row)
        running = kept(running, going) if going else None


def begun(
    generate: Callable[..., Any],
    prompts: Sequence[Sequence[int]],
    chosen: list[int],
    pad: int,
    device: torch.device | str,
) -> Rows:
    """New rows, with the first token of each reply."""
    ids, mask = padded(prompts, pad, device)
    width = ids.shape[1]
    output = generate(input_ids=ids, attention_mask=mask, max_length=width + 1, return_dict_in_generate=True)
    return Rows(chosen, [width] * len(prompts), output.sequences, longer(mask, 1), cache_of(output))


def continued(generate: Callable[..., Any], rows: Rows, tokens: int) -> Rows:
    """The rows with so many more tokens, or fewer if all end before."""
    output = generate(
        input_ids=rows.ids,
        attention_mask=rows.mask,
        max_length=rows.ids.shape[1] + tokens,
        return_dict_in_generate=True,
        **rows.cache,
    )
    mask = longer(rows.mask, output.sequences.shape[1] - rows.ids.shape[1])
    return Rows(rows.prompts, rows.starts, output.sequences, mask, cache_of(output))


def joined(first: Rows, second: Rows, pad: int) -> Rows:
    """Both groups of rows, the narrower one padded on the left."""
    width = max(first.ids.shape[1], second.ids.shape[1])
    for group in (first, second):
        if more := width - group.ids.shape[1]:
            add = torch.nn.functional.pad
            group.ids, group.mask = add(group.ids, (more, 0), value=pad), add(group.mask, (more, 0))
            group.starts = [start + more for start in group.starts]
            for layer in group.layers:
                layer.keys, layer.values = (add(states, (0, 0, more, 0)) for states in (layer.keys, layer.values))
    for one, other in zip(first.layers, second.layers, strict=True):
        one.keys, one.values = torch.cat([one.keys, other.keys]), torch.cat([one.values, other.values])
    ids, mask = torch.cat([first.ids, second.ids]), torch.cat([first.mask, second.mask])
    return Rows(first.prompts + second.prompts, first.starts + second.starts, ids, mask, first.cache)


def kept(rows: Rows, going: list[int]) -> Rows:
    """Only these rows, without the padding that all of them share."""
    if len(going) == len(rows.prompts):
        return rows
    mask = rows.mask[going]
    shared = int(mask.any(dim=0).int().argmax())
    for layer in rows.layers:
        layer.keys, layer.values = layer.keys[going][:, :, shared:], layer.values[going][:, :, shared:]
    prompts, starts = [rows.prompts[i] for i in going], [rows.starts[i] - shared for i in going]
    return Rows(prompts, starts, rows.ids[going][:, shared:], mask[:, shared:], rows.cache)


def longer(mask: torch.Tensor, by: int) -> torch.Tensor:
    """A mask with so many more columns of 1."""
    return torch.nn.functional.pad(mask, (0, by), value=1)


def cache_of(output: Any) -> dict[str, Any]:
    """The cache under its name; only plain keys and values can be joined."""
    from transformers.cache_utils import DynamicLayer

    for name in CACHE:
        cache = getattr(output, name, None)
        layers = getattr(cache, "layers", None)
        if layers and all(type(layer) is DynamicLayer for layer in layers):
            return {name: cache}
    sys.exit("This model's cache holds more than keys and values, so rows cannot join.")
