"""The two sides of a hook on a site: the function that changes an activation, and the handle that removes the hook."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import torch


class Change(Protocol):
    """A function of a site's activation, (batch, time, width)."""

    def __call__(self, activation: torch.Tensor, /) -> torch.Tensor | None:
        """Return the new activation, or `None` to leave it as it is."""


class Handle(Protocol):
    """Removes a hook."""

    def remove(self) -> None:
        """Remove the hook."""
