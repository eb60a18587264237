"""How far a changed model has moved from its base on harmless prompts: a measure of ability that needs no benchmark.

The base model answers harmless prompts. A changed model reads these answers. Its perplexity on them, and the KL divergence of its
next token from the base's, say how much of the base's ordinary behaviour is left. For the base itself, the divergence is 0 and the perplexity is
that of its own greedy answers. The divergence is taken over the base's `TOP` likeliest tokens and the rest as one event, so it is a lower bound of
the whole divergence (data processing inequality; Cover and Thomas 2006, 2.8), and needs little memory.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from ssn_eval.models.batches import Padded, cut
from ssn_eval.models.generation import generate
from ssn_eval.prompts.encoding import context_length, encode
from ssn_eval.prompts.prompt import Prompt

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

TOP = 64
BATCH = 8
"""texts at once; logits of the whole vocabulary are large"""


class Reference(NamedTuple):
    """The base model's answers, and what it expected at each of their tokens."""

    langs: list[str]
    """the language of each text, `(texts,)`"""
    ids: list[list[int]]
    """prompt and answer of each text"""
    starts: list[int]
    """number of tokens of each prompt"""
    top: list[torch.Tensor]
    """ids of the base's likeliest tokens at each answer token, `(answer tokens, TOP)`"""
    log_probs: list[torch.Tensor]
    """their log probabilities under the base, float32, in the same shape"""
    losses: list[float]
    """the base's own summed negative log likelihood of each answer, nats"""


class Ability(NamedTuple):
    """Means over the answer tokens of one language."""

    kl: float
    """KL divergence from the base, nats a token"""
    perplexity: float
    """of the base's answers"""
    tokens: int


def reference(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    *,
    max_new_tokens: int,
    batch_size: int,
) -> Reference:
    """Let the base model answer harmless prompts; texts with an empty answer are left out.

    Args:
        model: the base model.
        tokenizer: its tokenizer, with the template settings.
        prompts: harmless prompts of any languages.
        max_new_tokens: longest answer.
        batch_size: prompts answered at once.
    """
    texts = [p.prompt for p in prompts]
    answers = generate(model, tokenizer, texts, max_new_tokens=max_new_tokens, batch_size=batch_size)
    encoded = encode(tokenizer, texts, context_length(model), answers)
    kept = [i for i, ids in enumerate(encoded.ids) if len(ids) > encoded.prompt_lengths[i]]
    ids, starts = [encoded.ids[i] for i in kept], [encoded.prompt_lengths[i] for i in kept]
    top: dict[int, torch.Tensor] = {}
    log_probs: dict[int, torch.Tensor] = {}
    losses: dict[int, float] = {}
    for i, expected in _expected(model, ids, starts):
        values, indices = expected.topk(min(TOP, expected.shape[-1]), dim=-1)
        top[i], log_probs[i], losses[i] = indices.cpu(), values.cpu(), _loss(expected, ids[i][starts[i] :])
    order = range(len(kept))
    langs, order = [prompts[i].lang for i in kept], range(len(kept))
    return Reference(
        langs, ids, starts, [top[i] for i in order], [log_probs[i] for i in order], [losses[i] for i in order]
    )


def measure(model: PreTrainedModel, base: Reference) -> dict[str, Ability]:
    """Language → the ability of a changed model, against the base's answers."""
    import torch

    sums: dict[str, torch.Tensor] = {lang: torch.zeros(3, dtype=torch.float64) for lang in base.langs}
    for i, expected in _expected(model, base.ids, base.starts):
        answer = base.ids[i][base.starts[i] :]
        changed = expected.gather(-1, base.top[i].to(expected.device)).cpu()
        kl = divergence(base.log_probs[i], changed).sum()
        sums[base.langs[i]] += torch.tensor([float(kl), _loss(expected, answer), len(answer)], dtype=torch.float64)
    return {lang: _ability(*found.tolist()) for lang, found in sums.items()}


def of_base(base: Reference) -> dict[str, Ability]:
    """Language → the ability of the base itself: no divergence, and the perplexity of its own answers."""
    sums = {lang: [0.0, 0] for lang in base.langs}
    for lang, ids, start, loss in zip(base.langs, base.ids, base.starts, base.losses, strict=True):
        sums[lang][0] += loss
        sums[lang][1] += len(ids) - start
    return {lang: _ability(0.0, loss, tokens) for lang, (loss, tokens) in sums.items()}


def _ability(kl: float, loss: float, tokens: float) -> Ability:
    return Ability(kl / tokens, math.exp(loss / tokens), round(tokens))


def _loss(expected: torch.Tensor, answer: Sequence[int]) -> float:
    """The summed negative log likelihood of an answer's tokens."""
    import torch

    tokens = torch.tensor(list(answer), device=expected.device)
    return -float(expected.gather(-1, tokens[:, None]).sum())


def divergence(base: torch.Tensor, changed: torch.Tensor) -> torch.Tensor:
    """KL(base, changed) in nats over some tokens and the rest as one event.

    Args:
        base: log probabilities of the same tokens under the base, `(…, tokens)`.
        changed: those under the changed model.
    """
    rest, changed_rest = _rest(base), _rest(changed)
    return (base.exp() * (base - changed)).sum(-1) + rest.exp() * (rest - changed_rest)


def _rest(log_probs: torch.Tensor) -> torch.Tensor:
    """The log probability of all other tokens; at least that of rounding in float32."""
    remaining = 1 - log_probs.double().exp().sum(-1)
    return remaining.clamp_min(1e-7).log().to(log_probs.dtype)


def _expected(
    model: PreTrainedModel, ids: Sequence[Sequence[int]], starts: Sequence[int]
) -> Iterator[tuple[int, torch.Tensor]]:
    """Each text's position, and the log probabilities of every token at its answer's tokens, `(answer tokens, vocabulary)`, float32."""
    import torch

    spans = [(start, len(text)) for start, text in zip(starts, ids, strict=True)]
    padded = Padded(ids, spans, model.device)
    with torch.inference_mode():
        for rows in cut(range(len(ids)), padded.lengths, BATCH):
            batch = padded(rows)
            logits = model(input_ids=batch.input_ids, attention_mask=batch.attention_mask).logits
            for row, (first, end), values in zip(batch.rows, batch.spans, logits, strict=True):
                yield row, values[first - 1 : end - 1].float().log_softmax(-1)
