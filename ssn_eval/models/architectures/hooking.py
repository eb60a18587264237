"""What a hook on a site is given and gives back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import torch


class Change(Protocol):
    """What a hook does with a site's activation, (batch, time, width)."""

    def __call__(self, activation: torch.Tensor, /) -> torch.Tensor | None:
        """Return what takes the activation's place, or `None` to leave it."""


class Handle(Protocol):
    """What takes a hook away."""

    def remove(self) -> None:
        """Take the hook away."""
