"""What one family of guard models is: how it is asked, how its answer is read, which languages it was made for."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from ssn_eval.judges.verdict import Verdict

Messages: TypeAlias = list[dict[str, str]]


@dataclass(frozen=True)
class Adapter:
    """The format facts of a family, from its model card; no model and no tokenizer in here."""

    family: str
    default_model: str
    """A hub id."""
    languages: frozenset[str]
    """ISO 639-1 codes that the card names."""
    plain: Callable[[str, str], str]
    """(prompt, response) → the whole text that the model reads, where no chat template makes it."""
    read: Callable[[str], Verdict]
    """The model's answer → a verdict; what cannot be read is unscored, never safe."""
    max_new_tokens: int
    messages: Callable[[str, str], Messages] | None = None
    """(prompt, response) → the turns for the chat template that the model ships; None where the card gives plain text."""
    generation_prompt: bool = False
    """Does the card ask the template for a generation prompt?"""
    bos: bool = False
    """Does the card let the tokenizer put its first token before the plain text?"""
    clip: int | None = None
    """The card reads so many tokens of a reply, from its beginning."""


def codes(text: str) -> frozenset[str]:
    """Language codes written with spaces between them."""
    return frozenset(text.split())


UNREADABLE = "the judge's answer could not be read"


def unreadable(raw: str) -> Verdict:
    """The verdict when the judge did not answer in its format."""
    return Verdict.failed(raw, UNREADABLE)


def fields(text: str) -> dict[str, str]:
    """Lines `key: value` as lower-cased pairs; a line is split at its first colon, and a key given two values is dropped."""
    found: dict[str, set[str]] = {}
    for line in text.strip().splitlines():
        key, colon, value = line.partition(":")
        if colon:
            found.setdefault(key.strip().lower(), set()).add(value.strip().lower())
    return {key: values.pop() for key, values in found.items() if len(values) == 1}


def yes_no(answer: str | None) -> bool | None:
    """`yes` or `no`, nothing else."""
    return {"yes": True, "no": False}.get(answer or "")


def hazard_codes(text: str) -> tuple[str, ...]:
    """MLCommons codes (`S1` … `S14`) in a text, in order, each once."""
    return tuple(dict.fromkeys(re.findall(r"\bS(?:1[0-4]|[1-9])\b", text)))
