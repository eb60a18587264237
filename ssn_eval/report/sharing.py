"""The correlation of |SS_l| and ASR_l over the NHR languages (METHOD.md, section 1)."""

from __future__ import annotations

from typing import Any, NamedTuple

from ssn_eval.core.statistics import Estimate, Rate
from ssn_eval.report.results import Results

FEWEST = 4
"""smallest number of languages for a correlation with an interval"""


class Point(NamedTuple):
    """One NHR language."""

    lang: str
    size: int
    """the number of its SS-Neurons"""
    attack: Rate


class Sharing(NamedTuple):
    """The NHR languages, and the correlation over them."""

    what: str
    """the name of the attack rate: `ASR`, `compliance` or `not refused`"""
    points: tuple[Point, ...]
    correlation: Estimate | None
    """Pearson's r; None if it does not exist, with the reason in `why`"""
    spearman: float | None
    why: str


def shared_against_attacks(results: Results) -> Sharing:
    """Pearson's r of |SS_l| and the attack rate of the base model over NHR languages, with Fisher's 95 % interval (scipy)."""
    sizes = results.select["sizes"].get("ss", {})
    attacks = [(lang, results.base.attack(lang)) for lang in results.nhr if lang in sizes]
    points = tuple(Point(lang, int(sizes[lang]), attack[1]) for lang, attack in attacks if attack)
    measure = next((attack[0] for _, attack in attacks if attack), "ASR")
    if len(points) < FEWEST:
        return Sharing(measure, points, None, None, f"{len(points)} NHR languages, and it takes {FEWEST}")
    x, y = [p.size for p in points], [p.attack.value for p in points]
    if len(set(x)) == 1 or len(set(y)) == 1:
        constant = "|SS|" if len(set(x)) == 1 else measure
        return Sharing(measure, points, None, None, f"{constant} is the same in every NHR language")
    from scipy.stats import pearsonr, spearmanr

    r: Any = pearsonr(x, y)
    rho: Any = spearmanr(x, y)
    interval = r.confidence_interval()
    return Sharing(
        measure,
        points,
        Estimate(float(r.statistic), float(interval.low), float(interval.high)),
        float(rho.statistic),
        "",
    )
