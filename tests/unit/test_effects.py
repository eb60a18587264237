"""What other papers rank neurons by, against values computed by hand, and as selection rules."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ssn_eval.core.errors import EmptySetError, MismatchError
from ssn_eval.core.moments import Moments, raw
from ssn_eval.core.settings import SelectParams
from ssn_eval.identification import effects
from ssn_eval.identification.accumulate import Sums
from ssn_eval.identification.rules import Evidence

KEY = "layers.0.mlp"


def moments(rows: list[list[float]]) -> Moments:
    """The moments of signed values, `(prompts, width)`, as a run sums them."""
    values = np.array(rows, np.float32)
    sums = Sums.empty({KEY: values.shape[1]})
    sums.add(range(len(values)), {KEY: values}, raw)
    statistics = sums.statistics()
    assert statistics is not None
    return statistics.moments()


JAIL = moments([[1, -2, 5, 0], [3, -4, 5, 0]])
NORM = moments([[0, 1, 5, 1], [0, 3, 5, -1], [3, 2, 5, 0]])


def test_the_statistics_of_signed_values_by_hand():
    # means 2 -3 5 0 and 1 2 5 0; variances 2 2 0 0 and 3 1 0 1; pooled (1·2 + 2·3) / 3 and (1·2 + 2·1) / 3
    np.testing.assert_allclose(effects.effect_size(JAIL, NORM)[KEY], [1 / np.sqrt(8 / 3), -5 / np.sqrt(4 / 3), 0, 0])
    difference = np.array([1, -5, 0, 0])
    np.testing.assert_allclose(effects.shift(JAIL, NORM)[KEY], (difference + 1) / np.sqrt((4 + 16 + 1 + 1) / 4))
    np.testing.assert_allclose(effects.activation_gap(JAIL, NORM)[KEY], [1, 5, 0, 0])
    flat = moments([[2, 2], [2, 2]])
    assert not effects.effect_size(flat, flat)[KEY].any() and not effects.shift(flat, flat)[KEY].any()


def test_shared_is_the_smaller_of_the_high_resource_value_and_the_mean_of_the_others():
    one, two, three = ({KEY: np.array(v)} for v in ([3.0, 1.0], [2.0, 5.0], [0.0, 5.0]))
    np.testing.assert_allclose(effects.shared(one, [two, three])[KEY], [1, 1])
    with pytest.raises(MismatchError, match="different sites or shapes"):
        effects.shared(one, [{KEY: np.zeros(3)}])
    with pytest.raises(EmptySetError, match="two prompts or more"):
        effects.shift(JAIL, replace(NORM, count=1))


@pytest.mark.parametrize(("rule", "first"), [("effect_size", 3), ("shift", 3), ("activation_gap", 7)])
def test_a_rule_finds_what_its_statistic_ranks_first(rule: str, first: int):
    """Neuron 3 rises on harmful prompts, 7 falls by more; only the gap counts both signs."""
    generator = np.random.default_rng(0)

    def label(raised: float, lowered: float) -> Moments:
        values = generator.normal(0, 0.1, (20, 100))
        values[:, 3] += raised
        values[:, 7] -= lowered
        return moments(values.tolist())

    pairs = {lang: (label(1, 2), label(0, 0)) for lang in ("en", "th", "zh")}
    scores = {lang: tuple({KEY: one.mean(KEY)} for one in pair) for lang, pair in pairs.items()}
    evidence = Evidence("en", scores, pairs)  # type: ignore[arg-type]
    families = evidence.families(SelectParams(rule=rule, p=1.0))
    assert families.ms["th"].by_key() == {KEY: [first]}
    assert families.shared(("th", "zh")).by_key() == {KEY: [first]}
