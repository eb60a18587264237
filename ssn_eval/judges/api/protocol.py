"""A protocol: what an API judge is asked, and how its answer is read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ssn_eval.judges.verdict import Verdict


@dataclass(frozen=True)
class Protocol:
    """One published protocol for the verdict of a large model."""

    name: str
    messages: Callable[[str, str], list[dict[str, str]]]
    """(prompt, response) → chat messages."""
    read: Callable[[str], Verdict]
    """The answer → a verdict; an unreadable answer is unscored."""
    max_tokens: int
