"""From prompts to training pairs: refusals of harmful prompts, and benign answers of the base model for replay."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from ssn_eval.core.errors import EmptySetError, ParamsError
from ssn_eval.core.languages import language
from ssn_eval.core.settings import PromptParams
from ssn_eval.models.generation import Answerer
from ssn_eval.prompts.answers import benign_pairs
from ssn_eval.prompts.pairs import Pair, common, safety_pairs
from ssn_eval.prompts.prompt import LABELS, Prompt


class MadePairs(NamedTuple):
    """Training pairs, and their counts."""

    pairs: list[Pair]
    dropped: int
    """harmful prompts that are left out, because a language lacks them"""
    refusals: int
    """refusals of each language"""
    cut_off: int = 0
    """benign answers that are left out, because they were cut off at the largest number of tokens"""

    def warning(self) -> str | None:
        """A sentence on the answers that were cut off, if there are any."""
        if not self.cut_off:
            return None
        return (
            f"{self.cut_off} answers of the model were cut off at the largest number of tokens and are not trained on; allow "
            f"more tokens (--max-new-tokens, prompts.replay_tokens)."
        )

    @property
    def counts(self) -> dict[str, dict[str, int]]:
        """Language → label → number of pairs."""
        return {
            lang: {label: sum((p.lang, p.label) == (lang, label) for p in self.pairs) for label in LABELS}
            for lang in dict.fromkeys(p.lang for p in self.pairs)
        }


def make_pairs(
    prompts: Sequence[Prompt],
    langs: Sequence[str],
    load: Callable[[], Answerer] | None,
    *,
    split: str | None = None,
    refusals: Mapping[str, Sequence[str]] | None = None,
    replay: float = 1.0,
    benign: int | None = None,
    max_new_tokens: int = PromptParams.replay_tokens,
    batch_size: int = 64,
    limit: int | None = None,
    seed: int = 0,
    own_responses: bool = False,
) -> MadePairs:
    """Make a refusal for every harmful prompt that all languages have, and benign answers of the model.

    Args:
        prompts: of any language and label.
        langs: the languages of the pairs.
        load: loads the base model; it is called after all checks, and only for replay.
        split: only the prompts of this split.
        refusals: language → phrasings of a refusal; the language's one sentence if None.
        replay: benign answers for each refusal.
        benign: benign answers of each language, in place of `replay` times its refusals.
        max_new_tokens: the longest benign answer.
        batch_size: answers generated at once.
        limit: the largest number of harmful prompts, drawn at random.
        seed: of every draw.
        own_responses: the refusals are the responses that the prompts bring.

    Raises:
        UnknownNameError: a language is not known.
        ParamsError: replay without a model.
        EmptySetError: a language has no harmful prompt that all languages have.
    """
    codes = [language(code).code for code in langs]
    if replay and load is None:
        raise ParamsError("Benign answers come from the model: give --model, or --replay 0 for refusals alone.")
    selected = [p for p in prompts if p.lang in codes and split in (None, p.split)]
    pairs, dropped = common(safety_pairs(selected, refusals, seed, own_responses=own_responses))
    for code in codes:
        if not any(pair.lang == code for pair in pairs):
            present = sorted({f"{p.lang}/{p.split}" if p.split else p.lang for p in prompts if p.label == "harmful"})
            raise EmptySetError(
                f"No harmful prompt is left for {code}: there are harmful prompts in {', '.join(present) or 'no language'}, "
                f"and only ids that every language has are kept."
            )
    if limit:
        ids = list(dict.fromkeys(pair.id for pair in pairs))
        drawn = set(random.Random(seed).sample(ids, min(limit, len(ids))))
        pairs = [pair for pair in pairs if pair.id in drawn]
    refusals_per_language = len(pairs) // len(codes)
    cut_off = 0
    if replay and load is not None:
        replayed = benign_pairs(
            load(),
            [p for p in selected if p.label == "harmless"],
            per_language=round(replay * refusals_per_language) if benign is None else benign,
            max_new_tokens=max_new_tokens,
            batch_size=batch_size,
            seed=seed,
        )
        pairs, cut_off = [*pairs, *replayed.pairs], replayed.cut_off
    return MadePairs(pairs, dropped, refusals_per_language, cut_off)
