"""From an exchange to the tokens that a guard reads: through the chat template it ships, shortened to its context."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ssn_eval.core.errors import MismatchError
from ssn_eval.judges.guards.adapter import Adapter

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

LEAST = 64
"""Tokens of a reply that must be left when its middle is cut; with fewer it is not judged."""
_CUT = "\n…\n"


@dataclass(frozen=True)
class Question:
    """One exchange as token ids, and what was done to make it fit."""

    ids: list[int]
    notes: tuple[str, ...] = ()


def render(adapter: Adapter, tokenizer: PreTrainedTokenizerBase, prompt: str, response: str) -> str:
    """The text that the model reads, byte for byte as its card says.

    Raises:
        MismatchError: the chat template refuses the turns, or drops the reply.
    """
    if adapter.messages is None or not getattr(tokenizer, "chat_template", None):
        return adapter.plain(prompt, response)
    turns = adapter.messages(prompt, response)
    typed: Any = [{**turn, "content": [{"type": "text", "text": turn["content"]}]} for turn in turns]
    said = ""
    for form in (turns, typed):  # the second form is that of templates that also take images (Llama-Guard-3-1B)
        try:
            text = tokenizer.apply_chat_template(form, tokenize=False, add_generation_prompt=adapter.generation_prompt)
        except Exception as error:  # noqa: BLE001 (templates raise whatever their authors chose)
            said = f": {error}"
            continue
        if response.strip() in str(text) and prompt.strip() in str(text):
            return str(text)
    raise MismatchError(
        f"The chat template of this {adapter.family} model does not take a prompt and a reply{said}; is it a "
        f"{adapter.family} model?"
    )


def question(
    adapter: Adapter, tokenizer: PreTrainedTokenizerBase, prompt: str, response: str, limit: int
) -> Question | None:
    """Ids of at most `limit` tokens; None where the prompt leaves no room for the reply.

    A reply is first clipped as the card says, then the middle of what does not fit is left out, so that its beginning
    and its end are both read. Either is noted.
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
