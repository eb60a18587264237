"""The definition of a family of guard models: its prompt, the format of its answer, and its languages."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from ssn_eval.judges.verdict import Verdict

Messages: TypeAlias = list[dict[str, str]]


@dataclass(frozen=True)
class Adapter:
    """The format of a family, from its model card; it holds no model and no tokenizer."""

    family: str
    default_model: str
    """The hub id of the default model."""
    languages: frozenset[str]
    """ISO 639-1 codes that the card names."""
    plain: Callable[[str, str], str]
    """(prompt, response) → the whole text that the model reads, for a model without a chat template."""
    read: Callable[[str], Verdict]
    """The answer of the model → a verdict; an unreadable answer is unscored, never safe."""
    max_new_tokens: int
    messages: Callable[[str, str], Messages] | None = None
    """(prompt, response) → the turns for the chat template of the model; None if the card gives plain text."""
    generation_prompt: bool = False
    """Whether the card uses a generation prompt in the template."""
    bos: bool = False
    """Whether the tokenizer adds its first token before the plain text."""
    clip: int | None = None
    """Number of tokens from the beginning of a reply that the card reads; None: all."""


def codes(text: str) -> frozenset[str]:
    """The language codes in a text, separated by spaces."""
    return frozenset(text.split())


UNREADABLE = "the judge's answer could not be read"


def unreadable(raw: str) -> Verdict:
    """The verdict for an answer that is not in the format of the judge."""
    return Verdict.failed(raw, UNREADABLE)


def fields(text: str) -> dict[str, str]:
    """The lines `key: value` of a text as lower-cased pairs, split at the first colon; a key with two different values is left out."""
    values_by_key: dict[str, set[str]] = {}
    for line in text.strip().splitlines():
        key, colon, value = line.partition(":")
        if colon:
            values_by_key.setdefault(key.strip().lower(), set()).add(value.strip().lower())
    return {key: values.pop() for key, values in values_by_key.items() if len(values) == 1}


def yes_no(answer: str | None) -> bool | None:
    """True for `yes`, False for `no`, None for everything else."""
    return {"yes": True, "no": False}.get(answer or "")


def hazard_codes(text: str) -> tuple[str, ...]:
    """The MLCommons codes (`S1` … `S14`) in a text, in order, each once."""
    return tuple(dict.fromkeys(re.findall(r"\bS(?:1[0-4]|[1-9])\b", text)))
