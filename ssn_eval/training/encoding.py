"""Pairs as token ids in the model's chat template; only the response has a loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ssn_eval.judges.thoughts import closing_of
from ssn_eval.models import templates
from ssn_eval.models.templates import render
from ssn_eval.prompts.pairs import Pair

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

IGNORED = -100
"""the label of tokens that carry no loss"""


def encode(tokenizer: PreTrainedTokenizerBase, pair: Pair, max_length: int) -> dict[str, list[int]]:
    """Token ids and labels of one pair, with the prompt's labels ignored; a prompt that is too long loses its beginning."""
    prefix = render(tokenizer, pair.prompt)
    head = _tokens(tokenizer, prefix)
    turns = [{"role": "user", "content": pair.prompt}, {"role": "assistant", "content": pair.response}]
    templated = templates.of(tokenizer).use
    whole = templates.apply(tokenizer, turns) if templated else ""
    answer = _answer(prefix, whole, pair.response, str(tokenizer.eos_token))
    tail = tokenizer(answer, add_special_tokens=False)["input_ids"][:max_length]
    head = head[max(0, len(head) + len(tail) - max_length) :]
    return {"input_ids": head + tail, "labels": [IGNORED] * len(head) + tail}


def encode_prompt(tokenizer: PreTrainedTokenizerBase, prompt: str, max_length: int) -> list[int]:
    """Token ids of a prompt as the model gets it before it answers; one that is too long loses its beginning."""
    return _tokens(tokenizer, render(tokenizer, prompt))[-max_length:]


def _tokens(tokenizer: PreTrainedTokenizerBase, prefix: str) -> list[int]:
    """Token ids of a rendered prompt."""
    ids: Any = tokenizer(prefix, add_special_tokens=not templates.of(tokenizer).use)["input_ids"]
    return list(ids)


def _answer(prefix: str, whole: str, response: str, end: str) -> str:
    """The text to learn behind a rendered prompt: the response and the end of its turn.

    A thought that the prompt leaves open is closed first, so that the response is learned as the reply.
    """
    if whole.startswith(prefix):
        return whole[len(prefix) :]
    before, found, after = whole.rpartition(response)
    ending = after if found and before else end
    return closing_of(prefix) + response + ending


def collate(rows: Sequence[Mapping[str, list[int]]], pad: int) -> dict[str, Any]:
    """Pad a batch on the right: `input_ids`, `attention_mask`, `labels`, each (batch, time)."""
    import torch

    width = max(len(row["input_ids"]) for row in rows)

    def padded(key: str, value: int) -> Any:
        return torch.tensor([list(row[key]) + [value] * (width - len(row[key])) for row in rows])

    ids = padded("input_ids", pad)
    lengths = torch.tensor([len(row["input_ids"]) for row in rows])
    mask = (torch.arange(width) < lengths[:, None]).long()
    return {"input_ids": ids, "attention_mask": mask, "labels": padded("labels", IGNORED)}
