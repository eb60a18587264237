"""What other papers rank neurons by: harmful against harmless prompts, from the moments of any scorer. Pure functions.

With m and s² a neuron's mean and variance over the prompts of a label (`core/moments.py`):

- `effect_size`: `(m_jail − m_norm) / s` with `s² = ((n_jail − 1) s²_jail + (n_norm − 1) s²_norm) / (n_jail + n_norm − 2)` (SafeNeuron, arXiv 2602.12158: ES);
- `shift`: the z-score of `m_jail − m_norm` within the neuron's layer and site (SafeNeuron: SAS);
- `activation_gap`: the absolute value of `m_jail − m_norm` (contrastive neuron attribution, arXiv 2605.12290).

The sources use activations (`score.method: activation`). They choose by thresholds that are not published or by a fixed count; here a rule takes as many
neurons as the paper's rule, so that sets compare.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import numpy as np

from ssn_eval.core.errors import EmptySetError, MismatchError
from ssn_eval.core.moments import Moments, Scores


def effect_size(jail: Moments, norm: Moments) -> Scores:
    """Cohen's d of every neuron, `(width,)`, float64; 0 where a neuron has the same value for every prompt."""
    values = {}
    for key, difference in mean_difference(jail, norm).items():
        squares = (jail.count - 1) * jail.variance(key) + (norm.count - 1) * norm.variance(key)
        deviation = np.sqrt(squares / (jail.count + norm.count - 2))
        values[key] = np.divide(difference, deviation, out=np.zeros_like(difference), where=deviation > 0)
    return values


def shift(jail: Moments, norm: Moments) -> Scores:
    """The z-score of every neuron's mean difference within its layer and site, `(width,)`, float64; 0 where all are equal."""
    values = {}
    for key, difference in mean_difference(jail, norm).items():
        deviation = difference.std()
        values[key] = (difference - difference.mean()) / deviation if deviation > 0 else np.zeros_like(difference)
    return values


def activation_gap(jail: Moments, norm: Moments) -> Scores:
    """The absolute mean difference of every neuron, `(width,)`, float64."""
    return {key: np.abs(difference) for key, difference in mean_difference(jail, norm).items()}


def mean_difference(jail: Moments, norm: Moments) -> Scores:
    """`m_jail − m_norm` of every neuron, `(width,)`, float64.

    Raises:
        EmptySetError: a label has fewer than two prompts.
        MismatchError: the two cover different sites or shapes.
    """
    if min(jail.count, norm.count) < 2:
        raise EmptySetError("A comparison needs two prompts or more of each label; score more prompts.")
    _refuse_other_shapes([jail.sums, norm.sums])
    return {key: jail.mean(key) - norm.mean(key) for key in jail.sums}


def shared(hr: Scores, others: Sequence[Scores]) -> Scores:
    """The smaller of the high-resource language's value and the mean value of the other languages, `(width,)`.

    Raises:
        MismatchError: the languages cover different sites or shapes.
    """
    _refuse_other_shapes([hr, *others])
    return {key: np.minimum(values, np.mean([other[key] for other in others], axis=0)) for key, values in hr.items()}


def _refuse_other_shapes(parts: Sequence[Scores]) -> None:
    first, *others = ({key: len(values) for key, values in part.items()} for part in parts)
    if any(other != first for other in others):
        raise MismatchError("The scores cover different sites or shapes; identify all of them on one model.")


STATISTICS: Mapping[str, Callable[[Moments, Moments], Scores]] = MappingProxyType(
    {"effect_size": effect_size, "shift": shift, "activation_gap": activation_gap}
)
"""name → moments of D_jail and of D_norm → what a rule ranks by"""
