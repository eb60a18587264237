"""Benign replay: harmless prompts with the base model's own answers, so that safety training does not teach refusal of everything."""

from __future__ import annotations

import random
from collections.abc import Sequence

from ssn_eval.judges import Exchange, get_judge
from ssn_eval.models import Loaded
from ssn_eval.params import Params
from ssn_eval.progress import progress
from ssn_eval.prompts import Prompt, render
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
    answers = generate(loaded, [p.prompt for p in chosen], settings.prompts.replay_tokens, settings.evaluate.batch_size)
    verdicts = get_judge("refusal").judge([Exchange(p.prompt, a, p.lang) for p, a in zip(chosen, answers, strict=True)])
    return [
        Pair(p.id, p.lang, p.label, p.prompt, answer)
        for p, answer, verdict in zip(chosen, answers, verdicts, strict=True)
        if not verdict.refusal and not verdict.invalid and not verdict.unscored
    ]


def generate(loaded: Loaded, texts: Sequence[str], max_new_tokens: int, batch_size: int) -> list[str]:
    """Greedy answers to user prompts, in their order."""
    import torch

    tokenizer, model = loaded.tokenizer, loaded.model
    templated = bool(getattr(tokenizer, "chat_template", None))
    rendered = [render(tokenizer, text) for text in texts]
    order = sorted(range(len(texts)), key=lambda i: len(rendered[i]))
    answers = [""] * len(texts)
    with torch.no_grad(), progress("benign replay", len(texts)) as advance:
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            batch = tokenizer(
                [rendered[i] for i in rows],
                return_tensors="pt",
                padding=True,
                padding_side="left",
                add_special_tokens=not templated,
            ).to(model.device)
            out = model.generate(
                input_ids=batch["input_ids"],
                attention_mask=batch["attention_mask"],
                max_new_tokens=max_new_tokens,
                do_sample=False,
                pad_token_id=tokenizer.pad_token_id,
            )
            for i, ids in zip(rows, out[:, batch["input_ids"].shape[1] :], strict=True):
                answers[i] = tokenizer.decode(ids, skip_special_tokens=True).strip()
            advance(len(rows))
    return answers
