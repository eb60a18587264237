"""Contrast: does a neuron matter more for harmful prompts than for harmless ones? Welch's t of the relative log scores. Pure functions.

A neuron is compared with its own layer and site (`core/moments.py`). With 64 prompts a label, t = 2 is a neuron whose share of
importance differs by about a third of its spread over prompts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import NamedTuple

import numpy as np

from ssn_eval.core.errors import EmptySetError, MismatchError
from ssn_eval.core.moments import Moments, Scores
from ssn_eval.core.neurons import SITES, Neuron, NeuronSet
from ssn_eval.identification.selection import parts_of, strongest, top


@dataclass(frozen=True)
class Contrast:
    """Harmful against harmless prompts, for every neuron; site key → `(width,)`, float64."""

    t: Scores
    """Welch's t; 0 where a neuron has the same value for every prompt"""
    freedom: Scores
    """degrees of freedom"""
    difference: Scores
    """mean relative log score on harmful prompts minus that on harmless ones"""
    error: Scores
    """standard error of the difference"""

    def interval(self, confidence: float = 0.95) -> dict[str, np.ndarray]:
        """The interval of the difference: site key → `(2, width)`, low and high."""
        from scipy.stats import t as student

        intervals = {}
        for key, difference in self.difference.items():
            reach = student.ppf((1 + confidence) / 2, self.freedom[key]) * self.error[key]
            intervals[key] = np.stack([difference - reach, difference + reach])
        return intervals


def welch(jail: Moments, norm: Moments) -> Contrast:
    """The contrast of one language.

    Args:
        jail: of the harmful prompts.
        norm: of the harmless ones.

    Raises:
        EmptySetError: a label has fewer than two prompts.
        MismatchError: the two cover different sites or shapes.
    """
    if min(jail.count, norm.count) < 2:
        raise EmptySetError("A contrast needs two prompts or more of each label; score more prompts.")
    if {k: len(v) for k, v in jail.sums.items()} != {k: len(v) for k, v in norm.sums.items()}:
        raise MismatchError(
            "The harmful and the harmless scores cover different sites or shapes; identify both on one model."
        )
    parts: dict[str, list[np.ndarray]] = {key: _welch(jail, norm, key) for key in jail.sums}
    return Contrast(*({key: part[i] for key, part in parts.items()} for i in range(4)))


def _welch(jail: Moments, norm: Moments, key: str) -> list[np.ndarray]:
    a, b = jail.variance(key) / jail.count, norm.variance(key) / norm.count
    difference, error = jail.mean(key) - norm.mean(key), np.sqrt(a + b)
    varies = error > 0
    t = np.divide(difference, error, out=np.zeros_like(difference), where=varies)
    weights = a**2 / (jail.count - 1) + b**2 / (norm.count - 1)
    smallest = float(min(jail.count, norm.count) - 1)
    freedom = np.divide((a + b) ** 2, weights, out=np.full_like(a, smallest), where=weights > 0)
    return [t, freedom, difference, error]


class Shared(NamedTuple):
    """The evidence that a neuron's contrast is shared, for every neuron; site key → `(width,)`, float64."""

    t: Scores
    freedom: Scores


def shared(hr: Contrast, others: Sequence[Contrast]) -> Shared:
    """The smaller of t in the high-resource language and the mean t of the other languages, with the smallest degrees of freedom.

    Raises:
        EmptySetError: there is no other language.
        MismatchError: the languages cover different sites or shapes.
    """
    if not others:
        raise EmptySetError("Shared neurons need a second language besides the high-resource one.")
    shapes = {key: len(values) for key, values in hr.t.items()}
    if any({key: len(values) for key, values in other.t.items()} != shapes for other in others):
        raise MismatchError("The languages' scores cover different sites or shapes; identify all on one model.")
    t, freedom = {}, {}
    for key, values in hr.t.items():
        t[key] = np.minimum(values, np.mean([other.t[key] for other in others], axis=0))
        freedom[key] = reduce(np.minimum, [other.freedom[key] for other in others], hr.freedom[key])
    return Shared(t, freedom)


def largest(evidence: Contrast | Shared, count: int, sites: Sequence[str] = SITES) -> NeuronSet:
    """The `count` neurons of largest t, over all layers."""
    return strongest(evidence.t, count, sites)


def discoveries(evidence: Contrast | Shared, rate: float, sites: Sequence[str] = SITES) -> NeuronSet:
    """The neurons that matter more for harmful prompts, at this false discovery rate (Benjamini and Hochberg).

    The p-value is one-sided, of Student's t. For shared evidence it is valid as well: the neuron must pass in the high-resource
    language and in the mean of the others, and a mean of t has at most the spread of one t, however the languages depend.

    Args:
        evidence: of one language, or shared.
        rate: the expected share of false neurons in the set, in (0, 1).
        sites: which sites are candidates.

    Raises:
        EmptySetError: no site of the scores is among `sites`.
    """
    from scipy.stats import false_discovery_control
    from scipy.stats import t as student

    parts = parts_of(evidence.t, sites)
    freedom = [values for *_, values in parts_of(evidence.freedom, sites)]
    p = np.concatenate([student.sf(t, df) for (*_, t), df in zip(parts, freedom, strict=True)])
    passed = np.split(false_discovery_control(p) <= rate, np.cumsum([len(t) for *_, t in parts])[:-1])
    return NeuronSet(
        frozenset(
            Neuron(layer, site, int(index))
            for (layer, site, _), which in zip(parts, passed, strict=True)
            for index in np.flatnonzero(which)
        )
    )


def common(moments: Sequence[Moments], p: float, sites: Sequence[str] = SITES) -> NeuronSet:
    """The neurons that matter whatever the prompt: those among the top p % of their layer in every one of the given prompt sets.

    They are ranked by mean relative log score, so beside their own site and without weight on prompts that move everything.

    Args:
        moments: of prompt sets of either label and any language.
        p: per cent of a layer's neurons, as in `selection.top`.
        sites: which sites are candidates.

    Raises:
        EmptySetError: no prompt set is given, or no site is among `sites`.
    """
    if not moments:
        raise EmptySetError("Neurons that matter for every prompt need the moments of a prompt set.")
    tops = (top({key: one.mean(key) for key in one.sums}, p, sites) for one in moments)
    return reduce(lambda a, b: a & b, tops)


def intervals(contrasts: Mapping[str, Contrast], confidence: float = 0.95) -> dict[str, dict[str, np.ndarray]]:
    """Language → site key → the interval of every neuron's contrast, `(2, width)`."""
    return {lang: contrast.interval(confidence) for lang, contrast in contrasts.items()}


def spread(neurons: NeuronSet, ends: Mapping[str, np.ndarray]) -> dict[str, float]:
    """The median contrast of a set in one language, and the share of its neurons whose interval lies above 0.

    Args:
        neurons: of the set; not empty.
        ends: site key → the interval of every neuron, `(2, width)`.
    """
    low, high = np.concatenate([ends[key][:, indices] for key, indices in neurons.by_key().items()], axis=1)
    return {
        "median": round(float(np.median((low + high) / 2)), 4),
        "above_zero": round(float((low > 0).mean()), 4),
    }
