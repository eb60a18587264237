"""vLLM gets no progress bar where bars are hidden, because it divides by the time that its bar has run."""

from __future__ import annotations

from typing import Any

import pytest

from ssn_eval.models import engine


class Llm:
    """Answers with the arguments that it was given."""

    def generate(self, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
        return args, kwargs


@pytest.mark.parametrize(("hidden", "bar"), [("1", False), ("", True)])
def test_a_bar_is_asked_for_only_where_bars_are_shown(monkeypatch: pytest.MonkeyPatch, hidden: str, bar: bool) -> None:
    monkeypatch.setenv("TQDM_DISABLE", hidden)
    llm = Llm()
    with engine.shown_bars_only(llm):
        assert llm.generate([1], use_tqdm=True, lora_request=None) == (([1],), {"use_tqdm": bar, "lora_request": None})
    assert llm.generate(use_tqdm=True) == ((), {"use_tqdm": True})


def test_replicas_without_an_engine_here_have_no_bar() -> None:
    with engine.shown_bars_only(None):
        pass
