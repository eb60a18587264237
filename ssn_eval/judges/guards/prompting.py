"""The tokens that a guard model reads for an exchange: by its chat template, shortened to its context length."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ssn_eval.core.errors import MismatchError
from ssn_eval.judges.guards.adapter import Adapter

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

LEAST = 64
"""Smallest number of tokens that must remain of a shortened reply; with fewer the reply is not judged."""
_CUT = "\n…\n"


@dataclass(frozen=True)
class Question:
    """One exchange as token ids, with notes on what was shortened."""

    ids: list[int]
    notes: tuple[str, ...] = ()


def render(adapter: Adapter, tokenizer: PreTrainedTokenizerBase, prompt: str, response: str) -> str:
    """The text that the model reads, in the exact form of its card.

    Raises:
        MismatchError: the chat template fails on the turns, or its text lacks the prompt or the reply.
    """
    if adapter.messages is None or not getattr(tokenizer, "chat_template", None):
        return adapter.plain(prompt, response)
    turns = adapter.messages(prompt, response)
    typed: Any = [{**turn, "content": [{"type": "text", "text": turn["content"]}]} for turn in turns]
    reason = ""
    for form in (turns, typed):  # typed: for templates that also accept images (Llama-Guard-3-1B)
        try:
            text = tokenizer.apply_chat_template(form, tokenize=False, add_generation_prompt=adapter.generation_prompt)
        except Exception as error:  # a template may raise any exception
            reason = f": {error}"
            continue
        if response.strip() in str(text) and prompt.strip() in str(text):
            return str(text)
    raise MismatchError(
        f"The chat template of this {adapter.family} model does not take a prompt and a reply{reason}; is it a "
        f"{adapter.family} model?"
    )


def question(
    adapter: Adapter, tokenizer: PreTrainedTokenizerBase, prompt: str, response: str, limit: int
) -> Question | None:
    """The question for an exchange, at most `limit` tokens long; None if the prompt leaves too little room for the reply.

    The reply is first clipped to the length in the card. If the question is still too long, the middle of the reply is left out.
    A note records each of the two.
    """
    notes: list[str] = []
    if adapter.clip is not None:
        total = len(_ids(tokenizer, response))
        if total > adapter.clip:
            response = _head(tokenizer, response, adapter.clip)
            notes.append(f"reply clipped to its first {adapter.clip} of {total} tokens")
    whole, keep = response, 0
    ids = _encode(adapter, tokenizer, render(adapter, tokenizer, prompt, response))
    while len(ids) > limit:
        total = len(_ids(tokenizer, whole))
        keep = (keep or total) - (len(ids) - limit) - 8
        if keep < min(LEAST, total):
            return None
        response = _head(tokenizer, whole, keep // 2) + _CUT + _tail(tokenizer, whole, keep - keep // 2)
        ids = _encode(adapter, tokenizer, render(adapter, tokenizer, prompt, response))
    if keep:
        notes.append(f"middle of the reply left out: {keep} of {len(_ids(tokenizer, whole))} tokens read")
    return Question(ids, tuple(notes))


def _encode(adapter: Adapter, tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=adapter.bos)["input_ids"])


def _ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def _head(tokenizer: PreTrainedTokenizerBase, text: str, tokens: int) -> str:
    return str(tokenizer.decode(_ids(tokenizer, text)[:tokens]))


def _tail(tokenizer: PreTrainedTokenizerBase, text: str, tokens: int) -> str:
    return str(tokenizer.decode(_ids(tokenizer, text)[-tokens:]))
