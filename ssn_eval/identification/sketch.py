"""The Jacobian sketch: the importance of every neuron from a few backward passes (METHOD.md, section 2).

To first order, zeroing neuron N changes `y` by `Δy ≈ −Σ_t J_{t,N} a_{t,N}`. For a probe `v ~ N(0, I)`, `(v·Δy)²` has the
expectation `‖Δy‖²`, and `v·J` for all neurons at once is one backward pass of `v·y`. So, with m probes,
`Î(N, x) = sqrt((1/m) Σ_j (Σ_t g^(j)_{t,N} a_{t,N})²)`, `g^(j) = ∂(v_j·y)/∂a`. Where y is read at several tokens, each carries v
with a random sign, so that the expectation is the sum over the tokens.

Queries and keys that go through an RMS norm (Qwen 3, Gemma 3, OLMo 2) are the exception: zeroing one coordinate rescales all others,
to first order by twice what it really does. There the gradient is taken behind the norm and the norm's change exactly:
`Δk̂_N = −k̂_N`, `Δk̂_i = (ρ_N − 1) k̂_i`, `ρ_N² = Σk² / (Σk² − k_N²)`.

Each gradient is reduced over time inside a tensor hook, so memory stays that of one backward pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch

from ssn_eval.core.progress import Advance
from ssn_eval.identification.accumulate import PerPrompt
from ssn_eval.identification.readout import Readout
from ssn_eval.models import quantization
from ssn_eval.models.architectures.hooking import Handle
from ssn_eval.models.architectures.resolving import decoder_layers
from ssn_eval.models.architectures.sites import Site
from ssn_eval.models.batches import Batch

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@contextmanager
def sketch(
    model: PreTrainedModel,
    sites: Mapping[str, Site],
    readout: Readout,
    *,
    probes: int,
    seed: int,
    checkpointing: bool,
    advance: Advance,
) -> Iterator[Callable[[Batch], PerPrompt]]:
    """Give the scorer of a batch; the model is as before afterwards.

    Args:
        model: a causal language model in eval mode.
        sites: what is scored, by site key.
        readout: where importance is measured.
        probes: random probes per prompt.
        seed: of the probes.
        checkpointing: keep no activation inside a layer; it is computed again for every probe.
        advance: told of every prompt, by parts.
    """
    quantization.refuse_without_gradients(model, "use --method exact, a GPU, or 8-bit or plain weights")
    taps = Taps(recompute=checkpointing)

    def scorer(batch: Batch) -> PerPrompt:
        with torch.enable_grad():
            taps.recording = True
            y, rows = readout.read(model, batch)
            taps.recording = False
            squares = {key: torch.zeros(len(batch.rows), site.width) for key, site in sites.items()}
            for j, vectors in enumerate(_probes(batch, probes, y.shape[-1], seed)):
                taps.dots.clear()  # an expert that no token reaches gets no gradient
                probe = vectors[rows.cpu()] * _signs(batch, j, seed)[:, None]
                y.backward(probe.to(y), retain_graph=j < probes - 1)
                for key, dot in taps.dots.items():
                    squares[key] += dot.pow(2).cpu()
                advance(len(batch.rows) / probes)
        tokens = torch.tensor([end - first for first, end in batch.spans])[:, None]
        return {key: (square / probes / tokens).sqrt().numpy() for key, square in squares.items()}

    with input_gradients_only(model), taps.on(sites), _checkpointed(model) if checkpointing else _nothing():
        yield scorer


def _probes(batch: Batch, probes: int, width: int, seed: int) -> torch.Tensor:
    """Probe vectors, (probes, batch, width): one stream per prompt, so that batching does not change them."""
    streams = (np.random.default_rng((seed, row)) for row in batch.rows)
    return torch.from_numpy(np.stack([s.standard_normal((probes, width)) for s in streams], axis=1))


def _signs(batch: Batch, probe: int, seed: int) -> torch.Tensor:
    """A random sign for every token that is read, (tokens,); the batch of a prompt does not change its signs."""
    streams = (
        np.random.default_rng((seed, row, probe)).choice([-1.0, 1.0], size=end - first)
        for row, (first, end) in zip(batch.rows, batch.spans, strict=True)
    )
    return torch.from_numpy(np.concatenate(list(streams)))


Reduced = Callable[..., torch.Tensor]
"""gradient and the tensors that it needs → what is summed over time, (batch, time, width)"""


class Taps:
    """After every backward pass, `dots` holds `Σ_t g_{t,N} a_{t,N}` of each site, (batch, width), float32.

    The sum runs over all tokens, or over each row's span of `spans`.
    """

    def __init__(self, recompute: bool) -> None:
        """Watch nothing yet; with `recompute`, every layer runs twice, and only the second run's activations are kept."""
        self.recompute = recompute
        self.recording = False
        self.dots: dict[str, torch.Tensor] = {}
        self.spans: list[tuple[int, int]] | None = None
        self._again: dict[str, tuple[torch.Tensor, ...]] = {}
        """what `reduce` needs of the layer that is being computed a second time"""

    def _watch(self, key: str, activation: torch.Tensor, change: Reduced, *needed: torch.Tensor) -> None:
        """Call `change` with the activation's gradient and the `needed` tensors of the same pass, and keep its sum over time."""
        values = tuple(tensor.detach() for tensor in needed)
        if not self.recording:
            self._again[key] = values
            return
        stored = None if self.recompute else values

        def reduce(gradient: torch.Tensor) -> None:
            change_by_token = change(gradient, *(self._again.pop(key) if stored is None else stored))
            self.dots[key] = _over_time(change_by_token, self.spans)

        activation.register_hook(reduce)

    def _tap(self, key: str, site: Site) -> Handle:
        if site.norm is None:

            def plain(activation: torch.Tensor) -> torch.Tensor:
                self._watch(key, activation, torch.mul, activation)
                return activation  # a part of a fused tensor has to lie on the way to y to receive its gradient

            return site.hook(plain)
        eps = float(getattr(site.norm, "variance_epsilon", None) or getattr(site.norm, "eps", 0.0))

        def normed(_module: object, args: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
            self._watch(key, output, partial(through_norm, eps=eps, time=site.norm_time), args[0], output)

        return site.norm.register_forward_hook(normed)

    @contextmanager
    def on(self, sites: Mapping[str, Site]) -> Iterator[None]:
        """In the body, the sites are watched."""
        handles = [self._tap(key, site) for key, site in sites.items()]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


def _over_time(values: torch.Tensor, spans: list[tuple[int, int]] | None) -> torch.Tensor:
    """(batch, time, width) → the sum over all tokens or over each row's span, (batch, width), float32."""
    if spans is None:
        return values.sum(1, dtype=torch.float32)
    return torch.stack([values[row, first:end].sum(0, dtype=torch.float32) for row, (first, end) in enumerate(spans)])


def through_norm(
    gradient: torch.Tensor, raw: torch.Tensor, normed: torch.Tensor, *, eps: float, time: int
) -> torch.Tensor:
    """How far zeroing each coordinate before an RMS norm moves v·y, to first order behind the norm.

    Args:
        gradient: of v·y by the norm's output, (batch, …, d) with time on one axis; the norm is over d.
        raw: the norm's input, as `gradient`.
        normed: its output, as `gradient`.
        eps: added to the mean square.
        time: the axis of time.

    Returns:
        (batch, time, width), the sign as for `gradient · activation`.
    """
    product = gradient.float() * normed.float()
    squares = raw.float().pow(2)
    total = squares.sum(-1, keepdim=True) + eps * raw.shape[-1]
    rescaled = (total / (total - squares).clamp_min(torch.finfo(torch.float32).tiny)).sqrt() - 1
    return (product - rescaled * (product.sum(-1, keepdim=True) - product)).movedim(time, 1).flatten(2)


@contextmanager
def input_gradients_only(model: PreTrainedModel) -> Iterator[None]:
    """Differentiate with respect to the embeddings alone: no gradient is computed or kept for any weight."""
    flags = [(p, p.requires_grad) for p in model.parameters()]
    model.requires_grad_(False)
    handle = model.get_input_embeddings().register_forward_hook(lambda _m, _i, out: out.requires_grad_(True))
    try:
        yield
    finally:
        handle.remove()
        for parameter, flag in flags:
            parameter.requires_grad_(flag)


@contextmanager
def _checkpointed(model: PreTrainedModel) -> Iterator[None]:
    """In the body, every decoder layer forgets its activations and computes them again in the backward pass."""
    from torch.utils.checkpoint import checkpoint, set_checkpoint_early_stop

    # another tool's forward (accelerate's) lies on the instance, too, and comes back
    before = [(layer, vars(layer).get("forward")) for layer in decoder_layers(model)]
    for layer, _ in before:
        layer.forward = partial(checkpoint, layer.forward, use_reentrant=False)  # type: ignore[method-assign]
    try:
        with set_checkpoint_early_stop(False):  # a tap at a layer's end must see its second activation too
            yield
    finally:
        for layer, forward in before:
            if forward is None:
                del layer.forward
            else:
                layer.forward = forward


@contextmanager
def _nothing() -> Iterator[None]:
    yield
