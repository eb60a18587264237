"""Interventions on a loaded model, by hooks at its sites: while a `with` block runs, or until the handles are removed.

Every site is resolved before anything is touched, and the hooks are removed even after an exception. Hooks run in every forward
pass: batched or not, at every decode step with the KV cache, on plain, PEFT-wrapped (load the adapter first) and DDP
models. Padding is intervened on like any token; nobody attends to it.

In a compiled model, code that was compiled before does not call the hooks, and code that was compiled with them keeps them.
So compiled code is discarded when hooks are added and when they are removed; the next call compiles again.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ssn_eval.core.neurons import NeuronSet
from ssn_eval.interventions.ops import Intervention, Layers, Op, Positions, parse_op
from ssn_eval.interventions.phases import Phases, track
from ssn_eval.interventions.plan import Changes, plan
from ssn_eval.interventions.reference import Reference

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    from ssn_eval.models.architectures.hooking import Handle
    from ssn_eval.models.architectures.sites import Site


@contextmanager
def intervene(
    model: PreTrainedModel,
    neurons: NeuronSet,
    op: Op | str,
    *,
    layers: Layers | None = None,
    positions: Positions = "all",
    reference: Reference | None = None,
) -> Iterator[None]:
    """Do `op` to the activations of `neurons` inside the block.

    Args:
        model: plain or PEFT-wrapped.
        neurons: the set.
        op: what is done to its activations: `suppress`, `scale:<number>`, `mean`, `set:<quantile>`, or such an `Op`.
        layers: only in these layers.
        positions: on the prompt, on generated tokens, or on all (see `phases.py`).
        reference: the activations that `mean` and `set:<quantile>` take their constants from.

    Raises:
        SsnError: as `plan.plan`; ArchitectureError: the model's sites are not known.
    """
    parsed = parse_op(op) if isinstance(op, str) else op
    with intervene_all(model, [Intervention(neurons, parsed, layers, positions)], reference):
        yield


@contextmanager
def intervene_all(
    model: PreTrainedModel, interventions: Sequence[Intervention], reference: Reference | None = None
) -> Iterator[None]:
    """As `intervene`, with several sets at once; a neuron in two of them with different ops is a `ConflictError`."""
    handles = attach(model, interventions, reference)
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def attach(
    model: PreTrainedModel, interventions: Sequence[Intervention], reference: Reference | None = None
) -> list[Handle]:
    """As `intervene_all`, without an end: returns the hooks' handles, which the caller removes or keeps."""
    from ssn_eval.core.neurons import Geometry
    from ssn_eval.models.architectures.resolving import decoder, resolve

    inner = _unwrapped(model)
    sites = resolve(inner)
    changes = plan(Geometry({key: site.width for key, site in sites.items()}), interventions, reference)
    handles: list[Handle] = []
    phases: Phases | None = None
    if changes.prompt != changes.generated:
        phases = track(getattr(inner, "get_base_model", lambda: inner)(), decoder(inner))
        handles.append(phases)
    for key in changes.keys():  # noqa: SIM118  # not a mapping
        handles.append(_hook(sites[key], changes.prompt.get(key), changes.generated.get(key), phases))
    if handles:
        _forget_compiled()
        handles.append(_Forget())
    return handles


class _Affine:
    """`factor · a + constant`, with one copy of both a device and dtype."""

    def __init__(self, width: int, changes: Changes) -> None:
        import torch

        self._factor, self._constant = torch.ones(width), torch.zeros(width)
        for index, (factor, constant) in changes.items():
            self._factor[index], self._constant[index] = factor, constant
        self._scales_only = not any(constant for _, constant in changes.values())
        self._placed: dict[tuple[torch.device, torch.dtype], tuple[torch.Tensor, torch.Tensor]] = {}

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        import torch

        place = (x.device, x.dtype)
        if place not in self._placed:
            self._placed[place] = (self._factor.to(*place), self._constant.to(*place))
        factor, constant = self._placed[place]
        return x * factor if self._scales_only else torch.addcmul(constant, x, factor)


def _hook(site: Site, prompt: Changes | None, generated: Changes | None, phases: Phases | None) -> Handle:
    import torch

    on_prompt, on_generated = (_Affine(site.width, changes) if changes else None for changes in (prompt, generated))
    if phases is None:
        assert on_prompt is not None  # both phases have the same changes, and there are some
        return site.hook(on_prompt)

    def by_phase(x: torch.Tensor) -> torch.Tensor | None:
        first = phases.prompt_tokens(x.shape[1])
        if first == x.shape[1]:
            return on_prompt(x) if on_prompt else None
        if first == 0:
            return on_generated(x) if on_generated else None
        parts = (x[:, :first], x[:, first:])
        return torch.cat(
            [do(part) if do else part for do, part in zip((on_prompt, on_generated), parts, strict=True)], 1
        )

    return site.hook(by_phase)


def _unwrapped(model: Any) -> Any:
    """The model inside `torch.compile` and DDP; PEFT's wrapper stays."""
    from torch.nn.parallel import DistributedDataParallel

    while True:
        inner = vars(model).get("_modules", {}).get("_orig_mod")
        inner = model.module if isinstance(model, DistributedDataParallel) else inner
        if inner is None:
            return model
        model = inner


class _Forget:
    """The last handle of an intervention: it discards compiled code that contains the hooks."""

    def remove(self) -> None:
        _forget_compiled()


def _forget_compiled() -> None:
    dynamo = sys.modules.get("torch._dynamo")
    if dynamo is not None:
        dynamo.reset()
