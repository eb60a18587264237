"""Judges: batches of (prompt, response, lang) in, one verdict each out.

A judge is named `NAME` or `NAME:MODEL`, sees a whole batch at once, and says who it is (model, revision, hash of its
rules or prompt), so that a stored verdict can be traced to what produced it. docs/judges.md tells them apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib import import_module
from typing import Any, Protocol

from ssn_eval.core.errors import ParamsError, UnknownNameError
from ssn_eval.judges.verdict import Exchange, Verdict

__all__ = ["Exchange", "Judge", "Verdict", "check_judge", "get_judge", "judge_names", "says_refusal"]

_GUARD = "ssn_eval.judges.guards.judge:GuardJudge"
_API = "ssn_eval.judges.api.judge:ApiJudge"
_JUDGES = {
    "refusal": "ssn_eval.judges.refusal:RefusalJudge",
    "qwen3guard": _GUARD,
    "qwen3guard_loose": _GUARD,
    "polyguard": _GUARD,
    "wildguard": _GUARD,
    "llamaguard": _GUARD,
    "harmbench": _GUARD,
    "api": _API,
    "api_strongreject": _API,
}
"""name → `module:Class`, imported when it is first asked for."""
_SILENT_ON_REFUSAL = ("llamaguard", "harmbench", "api")
"""judges that tell harm and nothing else"""


class Judge(Protocol):
    """What every judge can do. It may also have `check()`, what `check_judge` calls, and `usage()`, what a batch cost."""

    name: str

    def identity(self) -> dict[str, object]:
        """`{"name", "version", …}`: enough to tell two verdict files apart."""
        ...

    def judge(self, exchanges: Sequence[Exchange]) -> list[Verdict]:
        """Give one verdict for each exchange, in their order.

        Raises:
            UnknownNameError: an exchange is in a language that the refusal judge does not know.
            SsnError: the judge cannot work at all; one exchange that fails is an unscored verdict.
        """
        ...


def judge_names() -> tuple[str, ...]:
    """Every name that `get_judge` takes, without models."""
    return tuple(_JUDGES)


@cache
def get_judge(spec: str) -> Judge:
    """Make a judge by `NAME` or `NAME:MODEL`; nothing is loaded yet, and the same text gives the same instance.

    Raises:
        UnknownNameError: no judge has this name; near names are suggested.
        ParamsError: a model is missing, or given to a judge that takes none.
    """
    name, _, model = spec.partition(":")
    if name not in _JUDGES:
        raise UnknownNameError("judge", name, _JUDGES)
    module, _, attribute = _JUDGES[name].partition(":")
    if name == "refusal":
        if model:
            raise ParamsError(f"The judge refusal takes no model; found {spec!r}.")
        return _imported(module, attribute)()
    if _JUDGES[name] == _API and not model:
        raise ParamsError(f"The judge {name} needs a model: {name}:MODEL, for example {name}:gpt-4o.")
    return _imported(module, attribute)(name, model or None)


def check_judge(spec: str) -> None:
    """Find cheaply what would stop a judge, before replies are generated for it.

    Raises:
        SsnError: an unknown name, a missing model, package, key or endpoint; one sentence says what to do.
    """
    check = getattr(get_judge(spec), "check", None)
    if check is not None:
        check()


def says_refusal(spec: str) -> bool:
    """Does this judge say whether a reply declines? Some guards and the MultiJail protocol tell harm alone."""
    return spec.partition(":")[0] not in _SILENT_ON_REFUSAL


def _imported(module: str, attribute: str) -> Any:  # noqa: ANN401
    return getattr(import_module(module), attribute)
