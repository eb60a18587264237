"""Greedy answers to user prompts, in padded batches, through the model's chat template if it has one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ssn_eval.core.progress import progress

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


def generate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    texts: Sequence[str],
    *,
    max_new_tokens: int,
    batch_size: int = 256,
) -> list[str]:
    """Answer user prompts, in their order; batches are of like length and padded on the left."""
    import torch

    special = not getattr(tokenizer, "chat_template", None)
    rendered = [render(tokenizer, text) for text in texts]
    order = sorted(range(len(texts)), key=lambda i: len(rendered[i]))
    answers = [""] * len(texts)
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
                answers[i] = str(tokenizer.decode(ids, skip_special_tokens=True)).strip()
            advance(len(rows))
    return answers


def render(tokenizer: PreTrainedTokenizerBase, text: str, template: bool = True) -> str:
    """The text that a model sees for a user's prompt: the chat template with the generation prompt, or the plain prompt."""
    if not template or not getattr(tokenizer, "chat_template", None):
        return text
    messages = [{"role": "user", "content": text}]
    return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))
