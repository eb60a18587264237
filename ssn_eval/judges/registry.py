"""The judges by name. A judge takes batches of (prompt, response, lang) and gives one verdict for each.

The name of a judge is `NAME` or `NAME:MODEL`. Its `identity()` gives model, revision and a hash of its rules or prompt, so
that a stored verdict can be traced to its judge. docs/judges.md compares the judges.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib import import_module
from typing import Any, NamedTuple, Protocol

from ssn_eval.core.errors import ParamsError, UnknownNameError
from ssn_eval.judges.verdict import Exchange, Verdict

__all__ = ["Exchange", "Judge", "Verdict", "check_judge", "get_judge", "judge", "judge_names", "says_refusal"]


class Row(NamedTuple):
    """One judge of the table."""

    home: str
    """`module:attribute`, imported on first use: a guard's adapter (or a function of the architecture), or the class of another judge"""
    says_refusal: bool = True
    """False: it reports harm but not refusal"""


_GUARDS = "ssn_eval.judges.guards"
_API = "ssn_eval.judges.api.judge:ApiJudge"
GUARDS = {
    "qwen3guard": Row(f"{_GUARDS}.qwen3guard:ADAPTER"),
    "qwen3guard_loose": Row(f"{_GUARDS}.qwen3guard:LOOSE"),
    "polyguard": Row(f"{_GUARDS}.polyguard:ADAPTER"),
    "wildguard": Row(f"{_GUARDS}.wildguard:ADAPTER"),
    "llamaguard": Row(f"{_GUARDS}.llamaguard:ADAPTER", says_refusal=False),
    "harmbench": Row(f"{_GUARDS}.harmbench:for_type", says_refusal=False),
}
"""the families of guard models; a new one is one row here and one module"""
_JUDGES = {
    "refusal": Row("ssn_eval.judges.refusal:RefusalJudge"),
    **GUARDS,
    "refusal_model": Row("ssn_eval.judges.refusal_model:RefusalModelJudge"),
    "api": Row(_API, says_refusal=False),
    "api_strongreject": Row(_API),
}


class Judge(Protocol):
    """The interface of every judge. A judge may also have `check()` (for `check_judge`) and `usage()` (the cost of a batch)."""

    name: str

    def identity(self) -> dict[str, object]:
        """`{"name", "version", …}`: everything that the verdicts of this judge depend on."""
        ...

    def judge(self, exchanges: Sequence[Exchange]) -> list[Verdict]:
        """One verdict per exchange, in the same order.

        Raises:
            UnknownNameError: the refusal judge does not know the language of an exchange.
            SsnError: the judge cannot work at all; a single failed exchange gets an unscored verdict instead.
        """
        ...


def judge_names() -> tuple[str, ...]:
    """Every judge name, without models."""
    return tuple(_JUDGES)


@cache
def get_judge(spec: str) -> Judge:
    """The judge for `NAME` or `NAME:MODEL`; nothing is loaded yet, and equal texts give the same instance.

    Raises:
        UnknownNameError: no judge has this name; the message suggests similar names.
        ParamsError: the judge needs a model but none is given, or takes no model but one is given.
    """
    name, _, model = spec.partition(":")
    home = _imported(_row(name).home)
    if name == "refusal":
        if model:
            raise ParamsError(f"The judge refusal takes no model; found {spec!r}.")
        return home()
    if name in GUARDS:
        from ssn_eval.judges.guards.judge import GuardJudge

        adapter_for: Any = home if callable(home) else lambda _architecture: home
        return GuardJudge(name, adapter_for, model or None)
    if not model:
        example = "NousResearch/Minos-v1" if name == "refusal_model" else "gpt-4o"
        raise ParamsError(f"The judge {name} needs a model: {name}:MODEL, for example {name}:{example}.")
    return home(name, model)


def judge(exchanges: Sequence[Exchange], name: str = "refusal") -> list[Verdict]:
    """One verdict for each exchange, in the same order, by the judge `NAME` or `NAME:MODEL`; thoughts are left out.

    Raises:
        SsnError: as `get_judge` and `Judge.judge`.
    """
    from ssn_eval.judges.judging import Generated, judge_replies

    return judge_replies(get_judge(name), [Generated(exchange) for exchange in exchanges])


def check_judge(spec: str) -> None:
    """Check a judge before replies are generated for it; no model is loaded.

    Raises:
        SsnError: the name is unknown, or a model, package, key or endpoint is missing.
    """
    check = getattr(get_judge(spec), "check", None)
    if check is not None:
        check()


def says_refusal(spec: str) -> bool:
    """Whether a judge reports refusal; some guards and the MultiJail protocol report only harm.

    Raises:
        UnknownNameError: no judge has this name.
    """
    return _row(spec.partition(":")[0]).says_refusal


def _row(name: str) -> Row:
    if name not in _JUDGES:
        raise UnknownNameError("judge", name, _JUDGES)
    return _JUDGES[name]


def _imported(home: str) -> Any:
    module, _, attribute = home.partition(":")
    return getattr(import_module(module), attribute)
