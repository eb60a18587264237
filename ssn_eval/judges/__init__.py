"""Judges: batches of (prompt, response, lang) in, one verdict each out.

A judge is loaded by name, sees a whole batch at once, and names itself and the hash of its rules, so that a stored
verdict can be traced to what produced it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib import import_module
from typing import Protocol

from ssn_eval.errors import UnknownNameError
from ssn_eval.judges.verdict import Exchange, Verdict

__all__ = ["Exchange", "Judge", "Verdict", "get_judge", "judge_names"]

_JUDGES = {"refusal": "ssn_eval.judges.refusal:RefusalJudge"}
"""name → `module:Class`, imported when it is first asked for."""


class Judge(Protocol):
    """What every judge can do."""

    name: str

    def identity(self) -> dict[str, object]:
        """`{"name", "version", "rules_sha256", …}`: enough to tell two verdict files apart."""
        ...

    def judge(self, exchanges: Sequence[Exchange]) -> list[Verdict]:
        """Give one verdict for each exchange, in their order.

        Raises:
            UnknownNameError: an exchange is in a language that this project does not know.
        """
        ...


def judge_names() -> tuple[str, ...]:
    """Every name that `get_judge` takes."""
    return tuple(_JUDGES)


@cache
def get_judge(name: str) -> Judge:
    """Load a judge by name; the same name gives the same instance.

    Raises:
        UnknownNameError: no judge has this name; near names are suggested.
    """
    if name not in _JUDGES:
        raise UnknownNameError("judge", name, _JUDGES)
    module, _, attribute = _JUDGES[name].partition(":")
    return getattr(import_module(module), attribute)()
