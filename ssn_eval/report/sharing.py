"""|SS_l| against ASR_l: do languages that share more safety neurons with HR refuse more? (METHOD.md, section 1)."""

from __future__ import annotations

from typing import Any, NamedTuple

from ssn_eval.core.statistics import Estimate, Rate
from ssn_eval.report.results import Results

FEWEST = 4
"""languages that a correlation with an interval needs"""


class Point(NamedTuple):
    """One NHR language."""

    lang: str
    size: int
    """its SS-Neurons"""
    attack: Rate


class Sharing(NamedTuple):
    """Every NHR language, and Pearson's correlation over them."""

    what: str
    """what the attack rate is: `ASR`, `compliance` or `not refused`"""
    points: tuple[Point, ...]
    correlation: Estimate | None
    """None where it does not exist; `why` says why"""
    spearman: float | None
    why: str


def shared_against_attacks(results: Results) -> Sharing:
    """Pearson's r of |SS_l| and the base model's attack rate over NHR languages, with Fisher's 95 % interval (scipy)."""
    sizes = results.select["sizes"].get("ss", {})
    found = [(lang, results.base.attack(lang)) for lang in results.nhr if lang in sizes]
    points = tuple(Point(lang, int(sizes[lang]), attack[1]) for lang, attack in found if attack)
    what = next((attack[0] for _, attack in found if attack), "ASR")
    if len(points) < FEWEST:
        return Sharing(what, points, None, None, f"{len(points)} NHR languages, and it takes {FEWEST}")
    x, y = [p.size for p in points], [p.attack.value for p in points]
    if len(set(x)) == 1 or len(set(y)) == 1:
        same = "|SS|" if len(set(x)) == 1 else what
        return Sharing(what, points, None, None, f"{same} is the same in every NHR language")
    from scipy.stats import pearsonr, spearmanr

    r: Any = pearsonr(x, y)
    rho: Any = spearmanr(x, y)
    interval = r.confidence_interval()
    return Sharing(
        what,
        points,
        Estimate(float(r.statistic), float(interval.low), float(interval.high)),
        float(rho.statistic),
        "",
    )
