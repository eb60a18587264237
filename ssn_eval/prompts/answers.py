"""The base model's own answers: to harmless prompts for benign replay, and to any prompt for preference losses.

Benign replay keeps safety training from teaching the model to refuse everything. A preference loss needs a rejected response
beside the one to learn: a refusal for a harmless prompt, the base model's own answer for a harmful one.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from ssn_eval.core.errors import EmptySetError
from ssn_eval.core.languages import language
from ssn_eval.judges.judging import Generated, judge_replies
from ssn_eval.judges.registry import get_judge
from ssn_eval.judges.thoughts import opens_thought
from ssn_eval.judges.verdict import Exchange, Verdict
from ssn_eval.models.generation import Answerer
from ssn_eval.models.templates import render
from ssn_eval.prompts.pairs import Pair
from ssn_eval.prompts.prompt import Prompt


class Answered(NamedTuple):
    """A pair and the base model's answer to its prompt."""

    pair: Pair
    answer: str | None
    """what follows the thought; None if the model refuses or says nothing"""
    is_cut_off: bool


class Benign(NamedTuple):
    """Training pairs of harmless prompts."""

    pairs: list[Pair]
    cut_off: int
    """answers that are left out because they were cut off at the largest number of tokens"""


def benign_pairs(
    model: Answerer, prompts: Sequence[Prompt], *, per_language: int, max_new_tokens: int, batch_size: int, seed: int
) -> Benign:
    """Greedy answers of the base model to harmless prompts; answers that refuse, are empty or are cut off are left out.

    Args:
        model: the base model.
        prompts: harmless ones, of any languages.
        per_language: how many pairs training wants; the model is asked half as many again, in reserve.
        max_new_tokens: longest answer.
        batch_size: prompts at once.
        seed: of the draw of prompts.
    """
    drawn: list[Prompt] = []
    for lang in dict.fromkeys(p.lang for p in prompts):
        of_language = [p for p in prompts if p.lang == lang]
        drawn += random.Random(seed).sample(of_language, min(round(1.5 * per_language), len(of_language)))
    pairs = [Pair(p.id, p.lang, p.label, p.prompt, "") for p in drawn]
    answered = _answered(model, pairs, max_new_tokens, batch_size)
    return Benign(
        [replace(a.pair, response=a.answer) for a in answered if a.answer and not a.is_cut_off],
        sum(a.is_cut_off for a in answered),
    )


def with_rejected(
    model: Answerer, pairs: Sequence[Pair], *, max_new_tokens: int, batch_size: int, seed: int = 0
) -> list[Pair]:
    """The pairs with a rejected response each; a pair that has one keeps it.

    The rejected response to an answer is the language's refusal. The rejected response to a refusal is the base model's own
    answer; if the model refuses too, it is an answer to another prompt of the language, drawn from the pairs. A pair without
    either is left out.

    Raises:
        EmptySetError: no pair is left.
    """
    unanswered = [p for p in pairs if p.rejected is None and p.label == "harmful"]
    answered = _answered(model, unanswered, max_new_tokens, batch_size)
    replies = {(a.pair.id, a.pair.lang): a.answer for a in answered if a.answer}
    benign_replies = {
        lang: [p.response for p in pairs if p.lang == lang and p.label == "harmless"] for lang in _langs(pairs)
    }
    completed = []
    for p in pairs:
        if p.rejected is not None:
            completed.append(p)
        elif p.label == "harmless":
            completed.append(replace(p, rejected=language(p.lang).refusal))
        elif reply := replies.get((p.id, p.lang)) or _any_of(benign_replies[p.lang], f"{seed} {p.id}"):
            completed.append(replace(p, rejected=reply))
    if not any(p.label == "harmful" for p in completed):
        raise EmptySetError(
            "A preference loss needs answers to hold against the refusals, but the model refuses every prompt and the pairs hold "
            "no benign answer; add benign pairs (train.replay), or write `rejected` into the pairs."
        )
    return completed


def _any_of(answers: Sequence[str], seed: str) -> str | None:
    return random.Random(seed).choice(answers) if answers else None


def _langs(pairs: Sequence[Pair]) -> list[str]:
    return list(dict.fromkeys(p.lang for p in pairs))


def _answered(model: Answerer, pairs: Sequence[Pair], max_new_tokens: int, batch_size: int) -> list[Answered]:
    """Each pair with the model's answer to its prompt."""
    if not pairs:
        return []
    completions = model.complete([p.prompt for p in pairs], max_new_tokens=max_new_tokens, batch_size=batch_size)
    generated = [
        Generated(Exchange(p.prompt, completion.text, p.lang), opened=opens_thought(render(model.tokenizer, p.prompt)))
        for p, completion in zip(pairs, completions, strict=True)
    ]
    verdicts = judge_replies(get_judge("refusal"), generated)
    return [
        Answered(p, _usable(text.reply.text, verdict), not completion.is_finished)
        for p, text, completion, verdict in zip(pairs, generated, completions, verdicts, strict=True)
    ]


def _usable(reply: str, verdict: Verdict) -> str | None:
    return None if verdict.refusal or verdict.invalid or verdict.unscored else reply
