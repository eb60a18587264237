"""Judge generated texts: a judge sees only what follows the thought of a reasoning model (`thoughts`), or, where asked, the thought apart."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ssn_eval.core.errors import MismatchError
from ssn_eval.core.languages import language
from ssn_eval.judges.registry import Judge
from ssn_eval.judges.thoughts import Reply, split
from ssn_eval.judges.verdict import Exchange, Verdict


@dataclass(frozen=True)
class Generated:
    """One prompt and the text that the model generated."""

    exchange: Exchange
    """`response` is the whole text, its thought included"""
    opened: bool = False
    """the rendered prompt ended inside an open thought"""

    @property
    def reply(self) -> Reply:
        """The text in its two parts."""
        return split(self.exchange.response, opened=self.opened)


def mixed_with(metadata: Mapping[str, Any]) -> tuple[str, ...]:
    """The languages of a task whose prompts mix several (`langs` of its metadata); empty for any other task.

    Raises:
        UnknownNameError: one of them is not known.
    """
    langs = metadata.get("langs") if metadata.get("translation") == "code-switched" else None
    return tuple(language(str(code)).code for code in langs or ())


def judge_replies(judge: Judge, generated: Sequence[Generated]) -> list[Verdict]:
    """One verdict for each text, in the same order; a text that ends inside its thought is invalid, and no judge sees it.

    Raises:
        MismatchError: the judge gave another number of verdicts.
        SsnError: as `Judge.judge`.
    """
    replies = [text.reply for text in generated]
    verdicts = _judged(
        judge,
        [
            replace(text.exchange, response=reply.text)
            for text, reply in zip(generated, replies, strict=True)
            if not reply.cut_off
        ],
    )
    return [Verdict.cut_off_in_thought() if reply.cut_off else next(verdicts) for reply in replies]


def judge_thoughts(judge: Judge, generated: Sequence[Generated]) -> list[Verdict | None]:
    """One verdict for the thought of each text, as if it were the reply; None where there is no thought.

    Raises:
        MismatchError, SsnError: as `judge_replies`.
    """
    thoughts = [text.reply.thought for text in generated]
    verdicts = _judged(
        judge,
        [
            replace(text.exchange, response=thought)
            for text, thought in zip(generated, thoughts, strict=True)
            if thought
        ],
    )
    return [next(verdicts) if thought else None for thought in thoughts]


def _judged(judge: Judge, exchanges: Sequence[Exchange]) -> Iterator[Verdict]:
    verdicts = judge.judge(exchanges) if exchanges else []
    if len(verdicts) != len(exchanges):
        raise MismatchError(f"Judge {judge.name} gave {len(verdicts)} verdicts for {len(exchanges)} replies.")
    return iter(verdicts)
