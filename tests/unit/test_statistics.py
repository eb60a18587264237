"""Intervals and paired tests against hand calculations, published values and scipy's own bootstrap."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats

from ssn_eval.core.errors import EmptySetError, MismatchError
from ssn_eval.core.paired import paired_difference, paired_p
from ssn_eval.core.statistics import (
    Rate,
    cluster_bootstrap,
    contrast,
    ends,
    mcnemar,
    mean_over_seeds,
    rate,
    wilson,
)


@pytest.mark.parametrize(
    ("successes", "total", "low", "high"),
    [
        (81, 263, 0.2553, 0.3662),  # Newcombe 1998, Statistics in Medicine 17:857, table I, method 3
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_gives_newcombes_published_bounds(successes: int, total: int, low: float, high: float) -> None:
    found = wilson(successes, total)
    assert (found.low, found.high) == pytest.approx((low, high), abs=5e-5)
    assert found.value == successes / total


def test_wilson_follows_its_formula_at_another_confidence() -> None:
    k, n, z = 37, 90, scipy.stats.norm.ppf(0.995)
    centre, spread = (k / n + z * z / (2 * n)), z * math.sqrt(k / n * (1 - k / n) / n + z * z / (4 * n * n))
    found = wilson(k, n, confidence=0.99)
    assert found.low == pytest.approx((centre - spread) / (1 + z * z / n))
    assert found.high == pytest.approx((centre + spread) / (1 + z * z / n))


def test_rate_counts_flags() -> None:
    assert rate([True, False, True, True]) == wilson(3, 4)


def test_no_rate_of_an_empty_set() -> None:
    with pytest.raises(EmptySetError):
        wilson(0, 0)
    with pytest.raises(EmptySetError):
        rate([])
    with pytest.raises(EmptySetError):
        Rate(0, 0, 0.0, 1.0)


def test_impossible_counts_are_refused() -> None:
    with pytest.raises(MismatchError, match="5 successes of 4"):
        wilson(5, 4)
    with pytest.raises(MismatchError):
        wilson(-1, 4)


def test_bootstrap_with_one_sample_per_prompt_agrees_with_scipy() -> None:
    values = np.random.default_rng(1).random(120) ** 2
    ours = cluster_bootstrap(values.tolist(), range(120), resamples=20_000)
    theirs = scipy.stats.bootstrap((values,), np.mean, method="percentile", n_resamples=20_000).confidence_interval
    assert ours.value == pytest.approx(values.mean())
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.004)


def test_bootstrap_of_unequal_clusters_agrees_with_scipys_ratio_of_sums() -> None:
    rng = np.random.default_rng(2)
    clusters = rng.integers(0, 60, size=400).tolist()
    values = (rng.random(400) < 0.3).astype(float)
    ids = sorted(set(clusters))
    sums = np.array([values[np.array(clusters) == i].sum() for i in ids])
    counts = np.array([float(clusters.count(i)) for i in ids])
    theirs = scipy.stats.bootstrap(
        (sums, counts),
        lambda s, c, axis: s.sum(axis) / c.sum(axis),
        paired=True,
        method="percentile",
        n_resamples=20_000,
    ).confidence_interval
    ours = cluster_bootstrap(values.tolist(), clusters, resamples=20_000)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.006)


def test_copies_of_a_prompt_in_other_languages_do_not_narrow_the_interval() -> None:
    flags = (np.random.default_rng(3).random(80) < 0.5).astype(float).tolist()
    one = cluster_bootstrap(flags, range(80))
    ten = cluster_bootstrap(flags * 10, list(range(80)) * 10)
    naive = cluster_bootstrap(flags * 10, range(800))
    assert (ten.low, ten.high) == pytest.approx((one.low, one.high))
    assert naive.high - naive.low < 0.5 * (one.high - one.low)


def test_bootstrap_is_deterministic_by_seed() -> None:
    values = np.random.default_rng(4).random(30).tolist()
    assert cluster_bootstrap(values, range(30)) == cluster_bootstrap(values, range(30))
    assert cluster_bootstrap(values, range(30)) != cluster_bootstrap(values, range(30), seed=1)


def test_bootstrap_needs_two_prompts_and_parallel_sequences() -> None:
    with pytest.raises(EmptySetError, match="at least two prompts"):
        cluster_bootstrap([1.0, 0.0], ["p", "p"])
    with pytest.raises(EmptySetError):
        cluster_bootstrap([], [])
    with pytest.raises(MismatchError, match="2 of value but 1 of cluster"):
        cluster_bootstrap([1.0, 0.0], ["p"])


def _pairs(both: int, only_first: int, only_second: int, neither: int) -> tuple[np.ndarray, np.ndarray]:
    """The two columns of a 2x2 table."""
    first = _column(*[1] * (both + only_first), *[0] * (only_second + neither))
    return first, _column(*[1] * both, *[0] * only_first, *[1] * only_second, *[0] * neither)


@pytest.mark.parametrize(
    ("table", "low", "high"),
    [
        (
            (14, 5, 0, 22),
            -0.2265,
            -0.0115,
        ),  # Altman et al. 2000, Statistics with Confidence, table 6.2 (first - second: .011 to .226)
        (
            (0, 0, 3, 0),
            0.2059,
            1.0,
        ),  # by hand: Wilson of 0 of 3 ends at .5615, and of 3 of 3 begins at .4385: 1 - sqrt(2) * .5615
        ((3, 0, 0, 0), -0.5615, 0.5615),
        ((0, 0, 0, 3), -0.5615, 0.5615),
    ],
)
def test_the_interval_of_a_difference_against_published_values(
    table: tuple[int, int, int, int], low: float, high: float
) -> None:
    found = paired_difference(*_pairs(*table))
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-4)


def test_the_interval_of_a_difference_turns_round_with_the_variants() -> None:
    found, turned = paired_difference(*_pairs(7, 4, 11, 30)), paired_difference(*_pairs(7, 11, 4, 30))
    assert (found.value, found.low, found.high) == pytest.approx((-turned.value, -turned.high, -turned.low))


@pytest.mark.parametrize("languages", [1, 4])
def test_the_interval_of_a_difference_covers_the_truth_with_few_prompts(languages: int) -> None:
    """Twelve prompts; every prompt has its own rates, so replies in several languages go together."""
    rng = np.random.default_rng(3)
    covered, truth = [], 0.3 - _lost_to_the_ceiling()
    for _ in range(800):
        before = rng.beta(0.4, 1.6, size=12)  # mean .2
        after = np.minimum(1, before + 0.3)
        first = (rng.random((12, languages)) < before[:, None]).astype(float)
        second = (rng.random((12, languages)) < after[:, None]).astype(float)
        found = paired_difference(first, second)
        covered.append(found.low <= truth <= found.high)
    assert 0.92 <= np.mean(covered) <= 0.995


def _lost_to_the_ceiling() -> float:
    """By how much the mean of min(1, x + .3) stays below that of x + .3, with x of Beta(.4, 1.6)."""
    grid = (np.arange(20_000) + 0.5) / 20_000
    draws = scipy.stats.beta.ppf(grid, 0.4, 1.6)
    return float(np.maximum(0, draws - 0.7).mean())


def _column(*values: float) -> np.ndarray:
    return np.array(values, dtype=float)[:, None]


def test_paired_difference_is_second_minus_first_and_needs_pairs() -> None:
    first, second = _column(1, 1, 1, 0), _column(0, 0, 1, 0)
    found = paired_difference(first, second)
    assert found.value == pytest.approx(-0.5)
    assert found.low <= -0.5 <= found.high
    assert paired_p(first, second) == 0.5, "two pairs differ, both in one direction: 2 / 2^2"
    with pytest.raises(MismatchError, match="same samples"):
        paired_difference(_column(1), _column(1, 0))
    with pytest.raises(EmptySetError):
        paired_difference(np.array([[1.0, np.nan]]), np.array([[0.0, np.nan]]))


def test_replies_to_one_prompt_are_not_independent() -> None:
    # Ten languages that repeat one language add nothing: the p of the clusters stays that of the five prompts.
    first, second = _column(0, 0, 0, 0, 0), _column(1, 1, 1, 1, 1)
    one = paired_difference(first, second)
    ten = paired_difference(np.repeat(first, 10, axis=1), np.repeat(second, 10, axis=1))
    assert paired_p(first, second) == 2 / 2**5
    assert paired_p(np.repeat(first, 10, axis=1), np.repeat(second, 10, axis=1)) == 2 / 2**5
    assert (one.low, one.high) == (ten.low, ten.high) and ten.low < 0.7
    assert paired_p(np.array([[0.0, 0], [1, 1]]), np.array([[1.0, 0], [1, 1]])) == 1, "one prompt changed"


def test_many_prompts_get_a_drawn_p_and_the_interval_of_a_bootstrap() -> None:
    rng = np.random.default_rng(4)
    hard = rng.random((150, 1)) < 0.4  # some prompts are refused in all languages, so that replies go together
    first = (hard | (rng.random((150, 3)) < 0.2)).astype(float)
    second = np.where(rng.random((150, 3)) < 0.4, 1.0, first)
    first[0, 1] = np.nan
    found = paired_difference(first, second)
    assert paired_p(first, second) == pytest.approx(1 / 5000, abs=1e-6), "the smallest p of 9,999 draws, two-sided"
    bootstrap = contrast(second - first, [1 / 3] * 3)
    assert (found.value, found.low, found.high) == pytest.approx(
        (bootstrap.value, bootstrap.low, bootstrap.high), abs=0.015
    )
    assert paired_p(second, second) == 1.0
    assert paired_p(second, rng.permutation(second)) > 0.05


def test_mcnemar_by_hand() -> None:
    # 10 discordant pairs, 1 against 9: two-sided p = 2 (C(10,0) + C(10,1)) / 2^10 = 22 / 1024.
    first = [True] * 1 + [False] * 9 + [True] * 20
    second = [False] * 1 + [True] * 9 + [True] * 20
    found = mcnemar(first, second)
    assert (found.only_first, found.only_second) == (1, 9)
    assert found.p == pytest.approx(22 / 1024)
    assert mcnemar(second, first).p == pytest.approx(found.p)


def test_pairing_finds_what_an_unpaired_test_misses() -> None:
    # The kind of case of lm-eval issue 3831: p = .079 as two independent samples, .0078 as the pairs that they are
    # (8 discordant, all one way: 2 / 2^8). Of 200 prompts 7 say yes to the first variant, and 15 to the second.
    first = [True] * 7 + [False] * 193
    second = [True] * 15 + [False] * 185
    unpaired = scipy.stats.chi2_contingency([[7, 193], [15, 185]], correction=False)[1]
    assert unpaired == pytest.approx(0.0793, abs=1e-4)
    assert mcnemar(first, second).p == pytest.approx(2 / 2**8)
    assert paired_difference(_column(*first), _column(*second)).low > 0


def test_mcnemar_without_disagreement_or_pairs() -> None:
    assert mcnemar([True, False], [True, False]).p == 1.0
    with pytest.raises(EmptySetError):
        mcnemar([], [])
    with pytest.raises(MismatchError):
        mcnemar([True], [True, False])


def test_mean_over_seeds_by_hand() -> None:
    # mean 0.8, s = 0.1, n = 3, t(.975, 2) = 4.302653: half width 4.302653 * 0.1 / sqrt(3) = 0.248414.
    found = mean_over_seeds([0.7, 0.8, 0.9])
    assert (found.value, found.low, found.high) == pytest.approx((0.8, 0.8 - 0.248414, 0.8 + 0.248414), abs=1e-6)
    with pytest.raises(EmptySetError, match="two seeds"):
        mean_over_seeds([0.5])


@pytest.mark.parametrize(("k", "n"), [(0, 1), (3, 3), (5, 17), (81, 263), (1, 3150), (315, 315)])
def test_wilson_is_statsmodels(k: int, n: int) -> None:
    from statsmodels.stats.proportion import proportion_confint

    found = wilson(k, n)
    assert (found.low, found.high) == pytest.approx(proportion_confint(k, n, method="wilson"), abs=1e-12)


@pytest.mark.parametrize("table", [(5, 1, 9, 20), (0, 0, 8, 192), (30, 12, 7, 1), (10, 3, 3, 10), (4, 0, 0, 4)])
def test_mcnemar_is_statsmodels(table: tuple[int, int, int, int]) -> None:
    from statsmodels.stats.contingency_tables import mcnemar as theirs

    both, only_first, only_second, neither = table
    first = [True] * both + [True] * only_first + [False] * (only_second + neither)
    second = [True] * both + [False] * only_first + [True] * only_second + [False] * neither
    expected = theirs([[both, only_first], [only_second, neither]], exact=True).pvalue  # type: ignore[attr-defined]
    assert mcnemar(first, second).p == pytest.approx(expected)


def test_a_contrast_is_the_difference_of_means_and_agrees_with_the_bootstrap_of_differences() -> None:
    values = np.random.default_rng(8).random((90, 2))
    found = contrast(values, [1, -1], resamples=20_000)
    paired = cluster_bootstrap((values[:, 0] - values[:, 1]).tolist(), range(90), resamples=20_000)
    assert found.value == pytest.approx(values[:, 0].mean() - values[:, 1].mean())
    assert (found.low, found.high) == pytest.approx((paired.low, paired.high))


def test_a_contrast_weighs_groups_alike_however_many_values_each_has() -> None:
    values = np.full((100, 3), np.nan)
    values[:, 0], values[:2, 1], values[:, 2] = 0.0, 1.0, 0.5
    found = contrast(values, [0.5, 0.5, 0])
    assert found.value == 0.5 and found.low == found.high == 0.5


def test_a_contrast_of_unequal_groups_agrees_with_scipys_bootstrap() -> None:
    rng = np.random.default_rng(9)
    values = rng.random((120, 2))
    values[rng.random((120, 2)) < 0.2] = np.nan
    theirs = scipy.stats.bootstrap(
        (values[:, 0], values[:, 1]),
        lambda a, b, axis: np.nanmean(a, axis) - np.nanmean(b, axis),
        paired=True,
        method="percentile",
        n_resamples=20_000,
    ).confidence_interval
    found = contrast(values, [1, -1], resamples=20_000)
    assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high), abs=0.006)


def test_a_contrast_of_nothing_is_refused() -> None:
    values = np.array([[1.0, np.nan], [0.0, np.nan]])
    with pytest.raises(EmptySetError, match="no value"):
        contrast(values, [0.5, 0.5])
    assert contrast(values, [1, 0]).value == 0.5
    with pytest.raises(EmptySetError, match="two prompts"):
        contrast(values[:1], [1, 0])
    with pytest.raises(MismatchError, match="3 weights"):
        contrast(values, [1, 0, 0])


def test_the_ends_of_a_curve_are_means_of_its_quarters():
    assert ends([8.0, 4.0, 5.0, 5.0, 5.0, 5.0, 1.0, 3.0]) == (6.0, 2.0)
    assert ends([2.0]) == (2.0, 2.0)
    with pytest.raises(ValueError, match="no ends"):
        ends([])
