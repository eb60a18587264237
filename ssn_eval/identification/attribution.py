r"""Attribution: how much each neuron helps the model to give a response, by one backward pass (arXiv 2608.09095). Signed.

For a prompt x and its response y, with L the mean cross entropy of y's tokens and a the activations,
`I(N, x) = −Σ_{t in y} (∂L/∂a_{t,N}) · a_{t,N}`: to first order, how much L rises if the neuron is zeroed at the tokens of y. High: the neuron
makes y likelier. On harmful prompts y is a refusal, on harmless ones an answer. The gradient of queries and keys behind a norm is taken as the
sketch takes it.

Zeroing a neuron at prompt tokens moves the first token of y, too; the source's sum runs over y alone, and so does this one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from ssn_eval.core.errors import ParamsError
from ssn_eval.core.progress import Advance
from ssn_eval.identification.accumulate import PerPrompt
from ssn_eval.identification.sketch import Taps, input_gradients_only
from ssn_eval.models import quantization
from ssn_eval.models.architectures.sites import Site
from ssn_eval.models.batches import Batch

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@contextmanager
def attribution(
    model: PreTrainedModel, sites: Mapping[str, Site], *, position: str, advance: Advance
) -> Iterator[Callable[[Batch], PerPrompt]]:
    """Give the scorer of a batch, `(batch, width)`, float32.

    Raises:
        ParamsError: `position` is not `response`.
    """
    if position != "response":
        raise ParamsError(
            f"method=attribution measures how neurons support a response, and position={position} reads none; set position=response "
            "and give a prompt file whose rows have `response`."
        )
    quantization.refuse_without_gradients(model, "use --method activation, a GPU, or 8-bit or plain weights")
    taps = Taps(recompute=False)

    def scorer(batch: Batch) -> PerPrompt:
        with torch.enable_grad():
            taps.recording = True
            taps.spans = batch.spans
            loss = response_loss(model, batch).sum()
            taps.recording = False
            taps.dots.clear()  # an expert that no token reaches gets no gradient
            loss.backward()
        values = {key: torch.zeros(len(batch.rows), site.width) for key, site in sites.items()}
        values |= {key: -dot.cpu() for key, dot in taps.dots.items()}
        advance(len(batch.rows))
        return {key: value.numpy() for key, value in values.items()}

    with input_gradients_only(model), taps.on(sites):
        yield scorer


def response_loss(model: PreTrainedModel, batch: Batch) -> torch.Tensor:
    """The mean cross entropy of each row's span, `(batch,)`, float32."""
    first, end = min(first for first, _ in batch.spans), max(end for _, end in batch.spans)
    kept = torch.arange(first - 1, end - 1, device=batch.input_ids.device)
    out = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask, use_cache=False, logits_to_keep=kept)
    losses = torch.nn.functional.cross_entropy(
        out.logits.float().transpose(1, 2), batch.input_ids[:, first:end], reduction="none"
    )
    return torch.stack(
        [losses[row, start - first : stop - first].mean() for row, (start, stop) in enumerate(batch.spans)]
    )
