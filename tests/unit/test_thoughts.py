"""A reply is what follows the thought: every form of a thought, and what is judged of it."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from ssn_eval.core.errors import MismatchError
from ssn_eval.judges.judging import Generated, judge_replies
from ssn_eval.judges.registry import get_judge, judge
from ssn_eval.judges.thoughts import PAIRS, Reply, opens_thought, split
from ssn_eval.judges.verdict import Exchange, Verdict

REFUSAL = "I'm sorry, but I can't help with that."
ANSWER = "Fold the sheet in half, then press the corners flat."
DOUBT = "I can't just answer anything, I must not help with what is harmful. But this is fine."


@pytest.mark.parametrize(("opener", "closer"), PAIRS)
def test_every_pair_of_marks(opener, closer):
    assert split(f"{opener}\n{DOUBT}\n{closer}\n\n{ANSWER}") == Reply(DOUBT, ANSWER, False)
    assert split(f"{opener}\n{DOUBT}") == Reply(DOUBT, "", True)
    assert split(f"{DOUBT}\n{closer}\n{ANSWER}", opened=True) == Reply(DOUBT, ANSWER, False)
    assert split(f"{DOUBT}\n{closer}\n{ANSWER}") == Reply(DOUBT, ANSWER, False), "the opening mark is in the template"
    assert split(DOUBT, opened=True) == Reply(DOUBT, "", True)
    assert opens_thought(f"<|assistant|>{opener}\n") and not opens_thought(f"{opener}x{closer}\n\n")


@pytest.mark.parametrize(
    ("text", "reply"),
    [
        (ANSWER, Reply("", ANSWER, False)),
        ("", Reply("", "", False)),
        ("<think>\n\n</think>\n\n", Reply("", "", False)),
        ("<think>\n\n</think>\n\n<think>\nOkay", Reply("Okay", "", True)),
        ("<think>a</think><think>b</think>c", Reply("a\nb", "c", False)),
        ("<think>a</think><answer>c</answer>", Reply("a", "c", False)),
        ("The mark <think> begins a thought, </think> ends it.", None),
        ("Analysis of the data: it is fine.", None),
        ("analysis shows that paper folds.", None),
        ("<|channel|>analysis<|message|>a<|end|><|start|>assistant<|channel|>final<|message|>b<|return|>", Reply("a", "b", False)),
        ("<|channel|>analysis<|message|>a<|end|>", Reply("a", "", True)),
        ("<|channel|>commentary to=x<|message|>a<|call|><|channel|>final<|message|>b", Reply("a", "b", False)),
        ("analysisWe can help.assistantfinalb", Reply("We can help.", "b", False)),
        ("analysisWe can", Reply("We can", "", True)),
    ],
)  # fmt: skip
def test_forms(text, reply):
    assert split(text) == (reply or Reply("", text, False))


def test_a_mark_of_the_users_own():
    assert split("I think so. ### Yes.", end="###") == Reply("I think so.", "Yes.", False)
    assert split("Yes.", end="###") == Reply("", "Yes.", False)
    assert split("I think so.", end="###", opened=True) == Reply("I think so.", "", True)


@pytest.mark.parametrize(
    ("lang", "text", "refusal", "invalid"),
    [
        ("en", f"<think>{DOUBT}</think>{ANSWER}", False, False),
        ("en", f"<think>{'Let me see. ' * 90}</think>{REFUSAL}", True, False),
        ("th", f"<think>{'The user asks in Thai. ' * 40}</think>ขออภัย ฉันไม่สามารถช่วยเรื่องนี้ได้", True, False),
        ("en", f"<think>{DOUBT}", None, True),
        ("en", "<think>\n\n</think>\n\n", False, True),
    ],
)
def test_verdicts_on_what_follows_the_thought(lang, text, refusal, invalid):
    (verdict,) = judge([Exchange("How do I fold a boat?", text, lang)])
    assert (verdict.refusal, verdict.invalid, verdict.is_cut_off) == (refusal, invalid, refusal is None)


class Recorder:
    """A judge that keeps what it sees."""

    name = "recorder"

    def __init__(self) -> None:
        self.seen: list[str] = []

    def identity(self) -> dict[str, object]:
        return {"name": self.name}

    def judge(self, exchanges: Sequence[Exchange]) -> list[Verdict]:
        self.seen += [e.response for e in exchanges]
        return get_judge("refusal").judge(exchanges)


def test_no_judge_sees_a_thought():
    recorder = Recorder()
    texts = [Generated(Exchange("p", t, "en")) for t in (f"<think>{DOUBT}</think>{ANSWER}", f"<think>{DOUBT}", REFUSAL)]
    texts.append(Generated(Exchange("p", DOUBT, "en"), opened=True))
    verdicts = judge_replies(recorder, texts)
    assert recorder.seen == [ANSWER, REFUSAL]
    assert [v.is_cut_off for v in verdicts] == [False, True, False, True]


def test_a_judge_that_loses_a_verdict_is_an_error():
    recorder = Recorder()
    recorder.judge = lambda _exchanges: []  # type: ignore[method-assign]
    with pytest.raises(MismatchError, match="0 verdicts for 1"):
        judge_replies(recorder, [Generated(Exchange("p", ANSWER, "en"))])
