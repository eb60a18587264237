"""What an API judge is asked and how its answer is read, apart from how it is reached."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ssn_eval.judges.verdict import Verdict


@dataclass(frozen=True)
class Protocol:
    """One published way of asking a large model for a verdict."""

    name: str
    messages: Callable[[str, str], list[dict[str, str]]]
    """(prompt, response) → chat messages."""
    read: Callable[[str], Verdict]
    """The answer → a verdict; what cannot be read is unscored."""
    max_tokens: int
