"""From prompts to a score file: choose prompts, encode them as the model sees them, score, and record how."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from ssn_eval.errors import EmptySetError
from ssn_eval.importance import score
from ssn_eval.prompts import Prompt, render
from ssn_eval.store import ScoreFile, versions

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from ssn_eval.models import Loaded


class Encoded(NamedTuple):
    """Prompts as token ids."""

    ids: list[list[int]]
    """one list a prompt, special tokens included"""
    truncated: int
    """how many prompts lost their beginning because the context is shorter"""


def encode(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], max_length: int) -> Encoded:
    """Token ids of user prompts in the model's chat template (or as plain text where it has none), cut from the left."""
    special = not getattr(tokenizer, "chat_template", None)
    whole = [tokenizer(render(tokenizer, text), add_special_tokens=special)["input_ids"] for text in texts]
    return Encoded([ids[-max_length:] for ids in whole], sum(len(ids) > max_length for ids in whole))


def subsample(prompts: Sequence[Prompt], limit: int | None, seed: int) -> list[Prompt]:
    """At most `limit` prompts, drawn by their ids, so that parallel languages get the same ones; in file order."""
    if limit is None or limit >= len(prompts):
        return list(prompts)
    drawn = set(random.Random(seed).sample(sorted(p.id for p in prompts), limit))  # noqa: S311
    return [p for p in prompts if p.id in drawn]


def identify(
    loaded: Loaded,
    prompts: Sequence[Prompt],
    *,
    method: str,
    sites: Sequence[str],
    probes: int,
    batch_size: int,
    seed: int,
    limit: int | None,
) -> ScoreFile:
    """Score every neuron of `sites` on prompts of one language and label; arguments as in `ssn_eval.importance.score`.

    Raises:
        EmptySetError: no prompt.
        as `score`.
    """
    if not prompts:
        raise EmptySetError("No prompt to identify neurons on.")
    used = subsample(prompts, limit, seed)
    context = int(getattr(loaded.model.config.get_text_config(), "max_position_embeddings", 1 << 30))
    encoded = encode(loaded.tokenizer, [p.prompt for p in used], context)
    scores = score(
        loaded.model, encoded.ids, method=method, sites=sites, probes=probes, batch_size=batch_size, seed=seed
    )
    made = {
        "method": method,
        "sites": list(sites),
        "probes": probes if method == "sketch" else None,
        "seed": seed,
        "lang": used[0].lang,
        "label": used[0].label,
        "prompts": len(used),
        "truncated": encoded.truncated,
        "prompts_sha256": hashlib.sha256("\n".join(p.prompt for p in used).encode()).hexdigest(),
        "versions": versions(),
    }
    return ScoreFile(scores, loaded.ref, made)
