"""The causal signatures of queries, keys, values and output gates: pure functions of measured effects.

One coordinate of a linear module's output is changed at one time, and the input of the attention's output projection is watched:

| role | later times change | at the first time, where there is one key, the head's direction changes |
|---|---|---|
| query | no | no: softmax over one key has no choice |
| key | yes | no |
| value | yes | yes |
| gate | no | yes |

A coordinate that only changes the size of its own time's head is a scalar gate, or a query that sharpens what was sharp already or
that shifts weight to a sink. Such a coordinate abstains where others of its head decide.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch

WEAK = 1e-3
"""an effect below this, relative to the largest value, does not decide"""
SCALAR = "scalar"
"""the vote of a coordinate that only changes a size"""
_ACROSS = 0.05
"""the share of a step that must lie across a head's direction to count as a change of direction"""


class Effects(NamedTuple):
    """What a change of single coordinates does to the output projection's input; one entry a coordinate."""

    later: torch.Tensor
    """bool: a later time than the changed one differs"""
    same: torch.Tensor
    """bool: the changed time differs"""
    turned: torch.Tensor
    """bool: the changed time differs in direction"""
    turned_first: torch.Tensor
    """bool: changed at the first time, the first time differs in direction"""
    strength: torch.Tensor
    """the largest effect, relative to the largest value"""


def role(later: bool, same: bool, turned: bool, turned_first: bool) -> str | None:
    """The role of one coordinate, or None if it moves nothing."""
    if later:
        return "v" if turned_first else "k"
    if turned_first:
        return "gate"
    if same:
        return "q" if turned else SCALAR
    return None


def turned(changed: torch.Tensor, base: torch.Tensor, head: int) -> torch.Tensor:
    """Whether rows differ from a base in direction, in at least one head.

    Args:
        changed: (n, width).
        base: (width,).
        head: coordinates of a head; the whole width if it does not divide it.

    Returns:
        (n,), bool.
    """
    head = head if head and base.shape[-1] % head == 0 else base.shape[-1]
    plain = base.view(1, -1, head).double()
    step = changed.reshape(changed.shape[0], -1, head).double() - plain
    direction = torch.nn.functional.normalize(plain, dim=-1)
    across = (step - (step * direction).sum(-1, keepdim=True) * direction).norm(dim=-1)
    floor = max(2e-4, 2 * torch.finfo(base.dtype).eps)
    is_moved = step.abs().amax(-1) > floor * base.abs().max().double()
    return ((across > _ACROSS * step.norm(dim=-1)) & is_moved).any(-1)


def samples(width: int, granule: int) -> list[int]:
    """The coordinates that are tried: the two ends of every granule, and one between."""
    starts = range(0, width, granule)
    return sorted({c for s in starts for c in (s, min(s + granule, width) - 1, s + (granule - 1) // 3) if c < width})


def settle(votes: Mapping[int, tuple[str | None, float]], width: int, granule: int) -> list[str | None]:
    """The role of every coordinate from the roles of some.

    A granule takes the role of its decisive samples if most of them agree. A granule without one takes the role of the module, if
    all other granules agree. Everything else stays None.

    Args:
        votes: coordinate → its role and the strength of its effect.
        width: coordinates of the module.
        granule: neighbouring coordinates that have one role.
    """
    blocks = _blocks(width, granule)
    decided = [_majority([votes[c] for c in block if c in votes]) for block in blocks]
    sure = {role for role in decided if role is not None}
    if not sure and any(role == SCALAR and strength >= WEAK for role, strength in votes.values()):
        sure = {"gate"}
    only = next(iter(sure)) if len(sure) == 1 else None
    return [role or only for role, block in zip(decided, blocks, strict=True) for _ in block]


def _blocks(width: int, granule: int) -> list[range]:
    return [range(start, min(start + granule, width)) for start in range(0, width, granule)]


def _majority(votes: Sequence[tuple[str | None, float]]) -> str | None:
    counts = Counter(_decisive(votes))
    if not counts:
        return None
    (best, count), total = counts.most_common(1)[0], sum(counts.values())
    return best if count > total / 2 else None


def _decisive(votes: Sequence[tuple[str | None, float]]) -> list[str]:
    return [role for role, strength in votes if role not in (None, SCALAR) and strength >= WEAK]


def unsettled(votes: Mapping[int, tuple[str | None, float]], width: int, granule: int) -> list[range]:
    """The granules whose decisive samples do not agree, or that have none."""
    return [b for b in _blocks(width, granule) if len(set(_decisive([votes[c] for c in b if c in votes]))) != 1]
