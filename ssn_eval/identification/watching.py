"""The activations of sites during forward passes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from ssn_eval.models.architectures.sites import Site

if TYPE_CHECKING:
    import torch


@contextmanager
def watching(sites: Mapping[str, Site], current: dict[str, torch.Tensor]) -> Iterator[None]:
    """In the body, every forward pass puts the activations of the sites into `current`, (batch, time, width)."""

    def keep(activation: torch.Tensor, key: str) -> None:
        current[key] = activation

    handles = [site.hook(partial(keep, key=key)) for key, site in sites.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
