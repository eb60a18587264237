r"""Importance of every neuron (METHOD: `I(N, D)`), by three scorers behind one signature.

`score(model, inputs, method=…)` takes token ids, one list a prompt, and returns scores by site key, `(width,)`, float32:
the mean over prompts of `‖z(x) − z_{\N}(x)‖₂`, `z` being the hidden state after the last norm at the last prompt token.
`sketch` estimates it for all neurons at once, `exact` pays for the definition, `local` is the closed form others use.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ssn_eval.errors import EmptySetError, FormatError, UnknownNameError
from ssn_eval.neurons import SITES
from ssn_eval.store import Scores

if TYPE_CHECKING:
    from transformers import PreTrainedModel

METHODS = ("sketch", "exact", "local")


def score(
    model: PreTrainedModel,
    inputs: Sequence[Sequence[int]],
    *,
    method: str = "sketch",
    sites: Sequence[str] = SITES,
    probes: int = 4,
    batch_size: int = 8,
    seed: int = 0,
) -> Scores:
    """Score every neuron of the chosen sites.

    Args:
        model: a causal language model in eval mode; its weights and flags are as before afterwards.
        inputs: token ids, one sequence a prompt, special tokens included.
        method: `sketch`, `exact` or `local`.
        sites: which sites to score.
        probes: random probes per prompt (sketch only); prompts × probes is what counts for accuracy.
        batch_size: prompts a forward pass; the result does not depend on it beyond rounding.
        seed: of the probes (sketch only).

    Raises:
        UnknownNameError: no such method.
        EmptySetError: no prompt, or an empty one.
        FormatError: a score is NaN or infinite; names the site.
    """
    if method not in METHODS:
        raise UnknownNameError("method", method, METHODS)
    if not inputs or any(len(ids) == 0 for ids in inputs):
        raise EmptySetError("Importance needs at least one prompt, and no empty one.")
    if method == "sketch":
        from ssn_eval.importance.sketch import sketch

        scores = sketch(model, inputs, sites=sites, probes=probes, batch_size=batch_size, seed=seed)
    elif method == "exact":
        from ssn_eval.importance.exact import exact

        scores = exact(model, inputs, sites=sites)
    else:
        from ssn_eval.importance.local import local

        scores = local(model, inputs, sites=sites, batch_size=batch_size)
    _refuse_not_finite(scores)
    return scores


def _refuse_not_finite(scores: Scores) -> None:
    import numpy as np

    for key, values in scores.items():
        if not np.isfinite(values).all():
            raise FormatError(f"The importance of {key} is NaN or infinite; score in float32 (dtype=float32).")
