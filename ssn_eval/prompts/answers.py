"""The base model's own answers: to harmless prompts for benign replay, and to any prompt for preference losses.

Benign replay keeps safety training from teaching refusal of everything. A preference loss needs, beside what is to be
learned, what is to be given up: for a harmless prompt a refusal, for a harmful one the answer that the base model gives.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

from ssn_eval.core.errors import EmptySetError
from ssn_eval.core.languages import language
from ssn_eval.judges.registry import get_judge
from ssn_eval.judges.verdict import Exchange
from ssn_eval.models.generation import generate
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
        per_language: how many pairs training wants; half as many again are asked, in reserve.
        max_new_tokens: longest answer.
        batch_size: prompts at once.
        seed: of the draw of prompts.
    """
    chosen: list[Prompt] = []
    for lang in dict.fromkeys(p.lang for p in prompts):
        mine = [p for p in prompts if p.lang == lang]
        chosen += random.Random(seed).sample(mine, min(round(1.5 * per_language), len(mine)))
    pairs = [Pair(p.id, p.lang, p.label, p.prompt, "") for p in chosen]
    return [replace(p, response=said) for p, said in _answered(loaded, pairs, max_new_tokens, batch_size) if said]


def with_rejected(
    loaded: Loaded, pairs: Sequence[Pair], *, max_new_tokens: int, batch_size: int, seed: int = 0
) -> list[Pair]:
    """The pairs, each with a response to hold against its own; pairs that bring one keep it.

    Against an answer stands the language's refusal. Against a refusal stands the base model's own answer; where that is itself a
    refusal, an answer to another prompt of the language, drawn among those that the pairs hold. A pair for which there is
    neither is left out.

    Raises:
        EmptySetError: no pair is left.
    """
    open_ones = [p for p in pairs if p.rejected is None and p.label == "harmful"]
    own = {(p.id, p.lang): said for p, said in _answered(loaded, open_ones, max_new_tokens, batch_size) if said}
    others = {lang: [p.response for p in pairs if p.lang == lang and p.label == "harmless"] for lang in _langs(pairs)}
    found = []
    for p in pairs:
        if p.rejected is not None:
            found.append(p)
        elif p.label == "harmless":
            found.append(replace(p, rejected=language(p.lang).refusal))
        elif said := own.get((p.id, p.lang)) or _any_of(others[p.lang], f"{seed} {p.id}"):
            found.append(replace(p, rejected=said))
    if not any(p.label == "harmful" for p in found):
        raise EmptySetError(
            "A preference loss needs answers to hold against the refusals, but the model refuses every prompt and the pairs hold "
            "no benign answer; add benign pairs (train.replay), or write `rejected` into the pairs."
        )
    return found


def _any_of(answers: Sequence[str], seed: str) -> str | None:
    return random.Random(seed).choice(answers) if answers else None


def _langs(pairs: Sequence[Pair]) -> list[str]:
    return list(dict.fromkeys(p.lang for p in pairs))


def _answered(
    loaded: Loaded, pairs: Sequence[Pair], max_new_tokens: int, batch_size: int
) -> list[tuple[Pair, str | None]]:
    """Each pair with the model's answer to its prompt; None where it refuses or says nothing."""
    if not pairs:
        return []
    said = generate(
        loaded.model, loaded.tokenizer, [p.prompt for p in pairs], max_new_tokens=max_new_tokens, batch_size=batch_size
    )
    verdicts = get_judge("refusal").judge(
        [Exchange(p.prompt, text, p.lang) for p, text in zip(pairs, said, strict=True)]
    )
    return [
        (p, None if verdict.refusal or verdict.invalid or verdict.unscored else text)
        for p, text, verdict in zip(pairs, said, verdicts, strict=True)
    ]
