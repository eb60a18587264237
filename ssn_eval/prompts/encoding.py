"""Prompts as token ids, as the model sees them, and a sample of a prompt set."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from ssn_eval.models.templates import of, render
from ssn_eval.prompts.prompt import Prompt

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


class Encoded(NamedTuple):
    """Prompts as token ids, followed by their responses if they have some."""

    ids: list[list[int]]
    """one list a prompt, special tokens included"""
    prompt_lengths: list[int]
    """how many tokens of each are the prompt"""
    truncated: int
    """how many prompts lost their beginning because the context is shorter"""


def context_length(model: PreTrainedModel) -> int:
    """The largest number of tokens that the model was made for; very large if its config does not say."""
    return int(getattr(model.config.get_text_config(), "max_position_embeddings", 1 << 30))


def encode(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], max_length: int, responses: Sequence[str | None] = ()
) -> Encoded:
    """Token ids of user prompts in the model's chat template (or as plain text if it has none), cut from the left."""
    special = not of(tokenizer).use
    prompts = [tokenizer(render(tokenizer, text), add_special_tokens=special)["input_ids"] for text in texts]
    answers = [tokenizer(r or "", add_special_tokens=False)["input_ids"] for r in responses] or [[]] * len(prompts)
    answers = [answer[: max_length - 1] for answer in answers]
    room = [max_length - len(answer) for answer in answers]
    cut = [ids[-n:] for ids, n in zip(prompts, room, strict=True)]
    whole = [[*ids, *answer] for ids, answer in zip(cut, answers, strict=True)]
    return Encoded(whole, [len(ids) for ids in cut], sum(len(a) < len(b) for a, b in zip(cut, prompts, strict=True)))


def subsample(prompts: Sequence[Prompt], limit: int | None, seed: int) -> list[Prompt]:
    """At most `limit` prompts, drawn by their ids, so that parallel languages get the same ones; in file order."""
    if limit is None or limit >= len(prompts):
        return list(prompts)
    drawn = set(random.Random(seed).sample(sorted(p.id for p in prompts), limit))
    return [p for p in prompts if p.id in drawn]
