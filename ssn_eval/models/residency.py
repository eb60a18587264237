"""At most one large model is on the accelerator: before a model is used, the others move to the CPU's memory.

The evaluated model and a guard model take turns. All replies are generated before the first is judged, so each model moves once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol
from weakref import WeakSet

if TYPE_CHECKING:
    from torch.nn import Module


class Resident(Protocol):
    """An object that holds a model on a device."""

    def leave(self) -> None:
        """Move the model away from the device; its next use moves it back."""
        ...


_residents: WeakSet[Resident] = WeakSet()


def enter(resident: Resident) -> None:
    """Make all other residents leave the device. Call this before a model is loaded or used."""
    for other in list(_residents):
        if other is not resident:
            other.leave()
    _residents.add(resident)


def move(model: Module, device: object) -> bool:
    """Move a model and free its old memory; False if it cannot move, because it is quantised or spread over devices."""
    import gc

    import torch

    is_spread = len(set((getattr(model, "hf_device_map", None) or {}).values())) > 1
    if is_spread or getattr(model, "is_quantized", False):
        return False
    model.to(device)  # type: ignore[arg-type]
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return True
