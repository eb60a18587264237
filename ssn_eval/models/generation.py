"""Greedy answers of a model to user prompts, computed in padded batches. `templates` renders the prompts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from ssn_eval.core.progress import progress
from ssn_eval.models import templates

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

NO_PENALTY: Mapping[str, Any] = {"repetition_penalty": 1.0, "no_repeat_ngram_size": 0}
"""greedy decoding takes the likeliest token; a model's own generation config may say otherwise (Qwen2.5 ships a penalty)"""


class Completion(NamedTuple):
    """A generated text."""

    text: str
    """without special tokens and without white space around it"""
    is_finished: bool
    """whether the model ended the text itself; False if the text was cut off at `max_new_tokens`"""


class Answerer(Protocol):
    """A model that answers prompts greedily: one in memory (`Loaded`), or one that an engine runs."""

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The model's tokenizer."""
        ...

    def complete(self, texts: Sequence[str], *, max_new_tokens: int, batch_size: int) -> list[Completion]:
        """Answer user prompts, in their order; `batch_size` is ignored by an engine, which makes its own batches."""
        ...


def generate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    *,
    max_new_tokens: int,
    batch_size: int = 256,
) -> list[str]:
    """Answer user prompts as `complete` does; return the texts alone, in the order of the prompts."""
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
    """Answer user prompts, in their order. Prompts of similar length share a batch; batches are padded on the left."""
    import torch

    add_special_tokens = not templates.of(tokenizer).use
    rendered = [templates.render(tokenizer, text) for text in texts]
    order = sorted(range(len(texts)), key=lambda i: len(rendered[i]))
    completions = [Completion("", False)] * len(texts)
    end_tokens = _end_tokens(model, tokenizer)
    with torch.inference_mode(), progress("generating", len(texts)) as advance:
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            batch_texts = [rendered[i] for i in rows]
            batch = tokenizer(
                batch_texts,
                return_tensors="pt",
                padding=True,
                padding_side="left",
                add_special_tokens=add_special_tokens,
            ).to(model.device)
            prompt_ids = batch["input_ids"]
            sequences = model.generate(  # type: ignore[operator]
                input_ids=prompt_ids,
                attention_mask=batch["attention_mask"],
                max_new_tokens=max_new_tokens,
                pad_token_id=tokenizer.pad_token_id,
                do_sample=False,
                **NO_PENALTY,
            )
            for i, ids in zip(rows, sequences[:, prompt_ids.shape[1] :], strict=True):
                text = str(tokenizer.decode(ids, skip_special_tokens=True)).strip()
                completions[i] = Completion(text, not end_tokens.isdisjoint(ids.tolist()))
            advance(len(rows))
    return completions


def _end_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> set[int]:
    """The tokens at which the model stops."""
    end_tokens: Any = getattr(model.generation_config, "eos_token_id", None)
    end_tokens = tokenizer.eos_token_id if end_tokens is None else end_tokens
    return {end_tokens} if isinstance(end_tokens, int) else set(end_tokens or ())
