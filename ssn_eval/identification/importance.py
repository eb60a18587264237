r"""Importance of every neuron (METHOD: `I(N, D)`), by six scorers behind one signature.

`measure(model, inputs, method=…)` takes token ids, one list a prompt, and returns scores by site key, `(width,)`, float32: the
mean over prompts of `‖y(x) − y_{\N}(x)‖₂`, y being by default the hidden state after the last norm at the last prompt token.
`sketch` estimates it for all neurons at once, `exact` computes the definition, `local` is the closed form of public code. Two scorers of other papers
give signed values instead: `attribution` (support of a response) and `activation`. `model_diff` compares two models.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssn_eval.core.errors import EmptySetError, ParamsError
from ssn_eval.core.moments import Statistics, raw, relative_logs
from ssn_eval.core.neurons import expand_sites
from ssn_eval.core.settings import SIGNED, ScoreParams
from ssn_eval.core.store import Scores
from ssn_eval.identification.stability import rank_correlation, standard_error

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@dataclass(frozen=True)
class Measurement:
    """The result of a scorer."""

    scores: Scores
    halves: tuple[Scores, Scores] | None
    """the scores of the first and of the second half of the prompts; None with fewer than two prompts"""
    prompts: int
    """how many prompts were used"""
    statistics: Statistics | None = None
    """of the prompts; None with fewer than two prompts, and where only some neurons were measured"""

    def reliability(self) -> dict[str, float | None]:
        """Split-half Spearman, and the standard error of the ranking that follows from it; None if it cannot be computed."""
        half = rank_correlation(*self.halves)["within_layer"] if self.halves else None
        error = standard_error(half)
        return {"split_half_spearman": half, "standard_error": error if math.isfinite(error) else None}


def measure(
    model: PreTrainedModel,
    inputs: Sequence[Sequence[int]],
    settings: ScoreParams = ScoreParams(),
    *,
    prompt_lengths: Sequence[int] | None = None,
    neurons: Mapping[str, Sequence[int]] | None = None,
    work: Path | None = None,
    run: Mapping[str, Any] | None = None,
    other: PreTrainedModel | None = None,
) -> Measurement:
    """Score every neuron of the chosen sites, alone or as one process among several (`accelerate launch`).

    Args:
        model: a causal language model in eval mode; its weights and flags are as before afterwards.
        inputs: token ids, one sequence a prompt, special tokens included.
        settings: the scorer and the sites; the number of prompts is the caller's choice.
        prompt_lengths: how many tokens of each sequence are the prompt, where responses follow.
        neurons: site key → indices: measure only those (`exact`); other neurons of those sites get 0, other sites are left out.
        work: a folder for the sums of an unfinished run; remove it once the scores are safe.
        run: what else decides the result (the model's hash), so that the sums of another run are never taken over.
        other: the second model of `model_diff`, in eval mode.

    Raises:
        EmptySetError: no prompt, an empty one, or no response where one is needed.
        FormatError: a score is NaN or infinite; names the layer and site.
        ParamsError: `neurons` with another method than `exact`.
    """
    from ssn_eval.core.processes import share
    from ssn_eval.core.progress import progress
    from ssn_eval.identification.accumulate import Progress, accumulate
    from ssn_eval.identification.readout import Readout
    from ssn_eval.models.architectures.resolving import refuse_without_sites, resolve
    from ssn_eval.models.batches import Padded

    if not inputs or any(len(ids) == 0 for ids in inputs):
        raise EmptySetError("Importance needs at least one prompt, and no empty one.")
    if neurons is not None and settings.method != "exact":
        raise ParamsError(
            f"Only method=exact can be restricted to some neurons, not {settings.method}, which takes all at once."
        )
    readout = Readout(settings.position, settings.target)
    spans = readout.spans([len(ids) for ids in inputs], prompt_lengths)
    token_ids = [list(ids[:end]) for ids, (_, end) in zip(inputs, spans, strict=True)]
    refuse_without_sites(model, expand_sites(settings.sites))
    sites = resolve(model, expand_sites(settings.sites))
    if neurons is not None:
        sites = {key: site for key, site in sites.items() if key in neurons}
    process_share = share()
    saved_sums = Progress(
        # Several processes that may stop early cannot resume: one could be a round ahead of another.
        None if settings.tolerance is not None and process_share.world > 1 else work,
        {
            **(run or {}),
            "settings": vars(settings),
            "inputs": token_ids,
            "spans": spans,
            "neurons": neurons,
            "sites": list(sites),
        },
        process_share,
    )
    with (
        progress("scoring neurons", -(-len(inputs) // process_share.world)) as advance,
        _scorer(model, sites, readout, settings, neurons, other, advance) as scorer,
    ):
        sums = accumulate(
            scorer,
            Padded(token_ids, spans, model.device),
            {key: site.width for key, site in sites.items()},
            batch_size=settings.batch_size,
            share=process_share,
            progress=saved_sums,
            enough=_enough(settings.tolerance),
            seed=settings.seed,
            skipped=advance,
            of_prompt=raw if settings.method in SIGNED else relative_logs,
        )
    statistics = sums.statistics()
    halves = (statistics.half(0), statistics.half(1)) if statistics else None
    # the neurons that were not measured would count as ones of no importance in the mean of their site
    return Measurement(sums.mean(), halves, int(sums.counts.sum()), statistics if neurons is None else None)


def score(model: PreTrainedModel, inputs: Sequence[Sequence[int]], **settings: Any) -> Scores:
    """The scores alone: `measure` with the fields of `ScoreParams` as keywords."""
    return measure(model, inputs, ScoreParams(**settings)).scores


def _scorer(model, sites, readout, settings, neurons, other, advance):
    """The method's scorer of a batch, as a context manager."""
    if settings.method == "sketch":
        from ssn_eval.identification.sketch import sketch

        options = {"probes": settings.probes, "seed": settings.seed, "checkpointing": settings.checkpointing}
        return sketch(model, sites, readout, **options, advance=advance)
    if settings.method == "exact":
        from ssn_eval.identification.exact import exact

        return exact(model, sites, readout, neurons=neurons, advance=advance)
    if settings.method == "attribution":
        from ssn_eval.identification.attribution import attribution

        return attribution(model, sites, position=settings.position, advance=advance)
    if settings.method == "activation":
        from ssn_eval.identification.activation import activation

        return activation(model, sites, advance=advance)
    if settings.method == "model_diff":
        from ssn_eval.identification.model_diff import model_diff

        return model_diff(model, sites, other, advance=advance)
    from ssn_eval.identification.local import local

    return local(model, sites, readout, advance=advance)


def _enough(tolerance: float | None):
    """A function that says whether the sums so far rank the neurons well enough; None if the run must not stop early."""
    if tolerance is None:
        return None
    from ssn_eval.identification.accumulate import Sums

    def enough(sums: Sums) -> bool:
        if sums.counts.min() == 0:
            return False
        return standard_error(rank_correlation(sums.mean(0), sums.mean(1))["within_layer"]) <= tolerance

    return enough
