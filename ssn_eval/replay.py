"""Benign replay: harmless prompts with the base model's own answers, so that safety training does not teach refusal of everything."""

from __future__ import annotations

import random
from collections.abc import Sequence

from ssn_eval.generation import generate
from ssn_eval.judges import Exchange, get_judge
from ssn_eval.models import Loaded
from ssn_eval.params import Params
from ssn_eval.prompts import Prompt
from ssn_eval.training import Pair


def benign_pairs(loaded: Loaded, prompts: Sequence[Prompt], settings: Params) -> list[Pair]:
    """Answers of the base model (greedy) to harmless prompts; answers that refuse or are empty are left out.

    As many prompts per language as training can use: `train.pairs` × `train.replay`, half as many again in reserve.
    """
    wanted = round(1.5 * settings.train.pairs * settings.train.replay)
    chosen: list[Prompt] = []
    for lang in settings.languages:
        mine = [p for p in prompts if p.lang == lang]
        chosen += random.Random(settings.prompts.seed).sample(mine, min(wanted, len(mine)))  # noqa: S311
    answers = generate(
        loaded.model,
        loaded.tokenizer,
        [p.prompt for p in chosen],
        max_new_tokens=settings.prompts.replay_tokens,
        batch_size=settings.evaluate.batch_size,
    )
    verdicts = get_judge("refusal").judge([Exchange(p.prompt, a, p.lang) for p, a in zip(chosen, answers, strict=True)])
    return [
        Pair(p.id, p.lang, p.label, p.prompt, answer)
        for p, answer, verdict in zip(chosen, answers, verdicts, strict=True)
        if not verdict.refusal and not verdict.invalid and not verdict.unscored
    ]
