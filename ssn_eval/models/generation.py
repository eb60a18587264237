"""Greedy answers to user prompts, in padded batches, through the model's chat template if it has one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ssn_eval.core.progress import progress
from ssn_eval.models.templates import of, render

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


class Completion(NamedTuple):
    """A generated text."""

    text: str
    """without special tokens and without white space around it"""
    is_finished: bool
    """whether the model ended it by itself; False if it was cut off at the largest number of tokens"""


def generate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    *,
    max_new_tokens: int,
    batch_size: int = 256,
) -> list[str]:
    """The texts of `complete`."""
    completions = complete(model, tokenizer, texts, max_new_tokens=max_new_tokens, batch_size=batch_size)
    return [completion.text for completion in completions]


def complete(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    *,
    max_new_tokens: int,
    batch_size: int = 256,
) -> list[Completion]:
    """Answer user prompts, in their order; batches are of like length and padded on the left."""
    import torch

    special = not of(tokenizer).use
    rendered = [render(tokenizer, text) for text in texts]
    order = sorted(range(len(texts)), key=lambda i: len(rendered[i]))
    answers = [Completion("", False)] * len(texts)
    ends = _end_tokens(model, tokenizer)
    with torch.inference_mode(), progress("generating", len(texts)) as advance:
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            texts_of_batch = [rendered[i] for i in rows]
            batch = tokenizer(
                texts_of_batch, return_tensors="pt", padding=True, padding_side="left", add_special_tokens=special
            ).to(model.device)
            prompt = batch["input_ids"]
            out = model.generate(  # type: ignore[operator]
                input_ids=prompt,
                attention_mask=batch["attention_mask"],
                max_new_tokens=max_new_tokens,
                do_sample=False,
                pad_token_id=tokenizer.pad_token_id,
            )
            for i, ids in zip(rows, out[:, prompt.shape[1] :], strict=True):
                text = str(tokenizer.decode(ids, skip_special_tokens=True)).strip()
                answers[i] = Completion(text, not ends.isdisjoint(ids.tolist()))
            advance(len(rows))
    return answers


def _end_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> set[int]:
    """The tokens at which the model stops."""
    ends: Any = getattr(model.generation_config, "eos_token_id", None)
    ends = tokenizer.eos_token_id if ends is None else ends
    return {ends} if isinstance(ends, int) else set(ends or ())
