"""The base model's own answers: to harmless prompts for benign replay, and to any prompt for preference losses.

Benign replay keeps safety training from teaching the model to refuse everything. A preference loss needs a rejected response
beside the one to learn: a refusal for a harmless prompt, the base model's own answer for a harmful one.
"""

from __future__ import annotations

import random
import warnings
from collections.abc import Sequence
from dataclasses import replace

from ssn_eval.core.errors import EmptySetError
from ssn_eval.core.languages import language
from ssn_eval.judges.judging import Generated, judge_replies
from ssn_eval.judges.registry import get_judge
from ssn_eval.judges.thoughts import opens_thought
from ssn_eval.judges.verdict import Exchange
from ssn_eval.models.generation import complete, render
from ssn_eval.models.loading import Loaded
from ssn_eval.prompts.pairs import Pair
from ssn_eval.prompts.prompt import Prompt


def benign_pairs(
    loaded: Loaded, prompts: Sequence[Prompt], *, per_language: int, max_new_tokens: int, batch_size: int, seed: int
) -> list[Pair]:
    """Greedy answers of the base model to harmless prompts; answers that refuse or are empty are left out.

    Args:
        loaded: the base model.
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
    return [replace(p, response=reply) for p, reply in _answered(loaded, pairs, max_new_tokens, batch_size) if reply]


def with_rejected(
    loaded: Loaded, pairs: Sequence[Pair], *, max_new_tokens: int, batch_size: int, seed: int = 0
) -> list[Pair]:
    """The pairs with a rejected response each; a pair that has one keeps it.

    The rejected response to an answer is the language's refusal. The rejected response to a refusal is the base model's own
    answer; if the model refuses too, it is an answer to another prompt of the language, drawn from the pairs. A pair without
    either is left out.

    Raises:
        EmptySetError: no pair is left.
    """
    unanswered = [p for p in pairs if p.rejected is None and p.label == "harmful"]
    replies = {(p.id, p.lang): reply for p, reply in _answered(loaded, unanswered, max_new_tokens, batch_size) if reply}
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


def _answered(
    loaded: Loaded, pairs: Sequence[Pair], max_new_tokens: int, batch_size: int
) -> list[tuple[Pair, str | None]]:
    """Each pair with the model's answer to its prompt; None if the model refuses, says nothing, or does not finish."""
    if not pairs:
        return []
    completions = complete(
        loaded.model, loaded.tokenizer, [p.prompt for p in pairs], max_new_tokens=max_new_tokens, batch_size=batch_size
    )
    generated = [
        Generated(Exchange(p.prompt, completion.text, p.lang), opened=opens_thought(render(loaded.tokenizer, p.prompt)))
        for p, completion in zip(pairs, completions, strict=True)
    ]
    verdicts = judge_replies(get_judge("refusal"), generated)
    unfinished = sum(not completion.is_finished for completion in completions)
    if unfinished:
        warnings.warn(
            f"{unfinished} of {len(completions)} answers of the model were cut off at {max_new_tokens} tokens and are not "
            f"trained on; allow more tokens (--max-new-tokens, prompts.replay_tokens).",
            stacklevel=2,
        )
    return [
        (
            p,
            None
            if verdict.refusal or verdict.invalid or verdict.unscored or not completion.is_finished
            else text.reply.text,
        )
        for p, text, completion, verdict in zip(pairs, generated, completions, verdicts, strict=True)
    ]
