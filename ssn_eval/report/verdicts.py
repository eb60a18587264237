"""The verdict on a claim: each part has one margin per seed, and one rule converts the margins to a verdict.

A *margin* is the distance of a measured value from the limit of the part; the part holds on a seed if the margin is above 0.
- A part holds if it holds on every one of at least three seeds and the 95 % interval of the mean margin lies above 0.
- It fails if it holds on no seed, or if that interval lies below 0.
- Otherwise it is open: too few seeds, seeds that disagree, an interval that contains 0, or a missing measurement.

A claim is reproduced if all its parts hold, not reproduced if one fails, not measured if no part was measured, and otherwise
unclear. A single run is one seed, so no claim is reproduced by it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ssn_eval.core.statistics import Estimate, mean_over_seeds

SEEDS = 3
"""smallest number of seeds for the verdict `reproduced`"""

_TOO_FEW = f", and it takes {SEEDS}"

Status = Literal["holds", "fails", "open"]
Word = Literal["reproduced", "not reproduced", "unclear", "not measured"]


@dataclass(frozen=True)
class Part:
    """One part of a claim, with its margins."""

    text: str
    margins: tuple[float | None, ...]
    """one per seed; None if it was not measured"""
    told: tuple[str, ...]
    """the numbers behind each margin, or the reason why there is none"""
    counts: bool = True
    """False: the part is shown beside the claim but does not affect its verdict"""

    @property
    def known(self) -> list[float]:
        """The margins that were measured."""
        return [m for m in self.margins if m is not None]

    @property
    def interval(self) -> Estimate | None:
        """The mean margin over seeds with Student's interval; None with fewer than two margins."""
        return mean_over_seeds(self.known) if len(self.known) > 1 else None

    @property
    def status(self) -> Status:
        """Whether the part holds, fails or is open."""
        measured, interval = self.known, self.interval
        if not measured:
            return "open"
        if all(m <= 0 for m in measured) or (interval and interval.high < 0):
            return "fails"
        enough = len(measured) == len(self.margins) >= SEEDS
        sure = enough and all(m > 0 for m in measured) and interval is not None and interval.low > 0
        return "holds" if sure else "open"

    def to_json(self) -> dict[str, Any]:
        """The same as JSON values."""
        rounded = [None if m is None else round(m, 4) for m in self.margins]
        interval = self.interval
        mean = None if interval is None else [round(v, 4) for v in (interval.value, interval.low, interval.high)]
        return {
            "text": self.text,
            "status": self.status,
            "counts": self.counts,
            "margins": rounded,
            "mean_low_high": mean,
            "told": list(self.told),
        }


@dataclass(frozen=True)
class Claim:
    """One of the paper's claims."""

    number: int
    text: str
    parts: tuple[Part, ...]

    @property
    def verdict(self) -> Word:
        """The verdict by the rule of this module."""
        counted_parts = [p for p in self.parts if p.counts]
        statuses = {p.status for p in counted_parts}
        if not any(p.known for p in counted_parts):
            return "not measured"
        if "fails" in statuses:
            return "not reproduced"
        return "reproduced" if statuses == {"holds"} else "unclear"

    @property
    def why(self) -> str:
        """The reason for the verdict."""
        counted_parts = [p for p in self.parts if p.counts]
        verdict = self.verdict
        if verdict == "reproduced":
            return f"every part holds on {min(len(p.margins) for p in counted_parts)} seeds"
        if verdict == "not reproduced":
            return "fails: " + "; ".join(p.text for p in counted_parts if p.status == "fails")
        gaps: dict[str, list[str]] = {}
        for part in counted_parts:
            if part.status == "open":
                gaps.setdefault(_open(part), []).append(part.text)
        seed_counts = {reason: texts for reason, texts in gaps.items() if reason.endswith(_TOO_FEW)}
        reasons = [f"{', '.join(texts)}: {reason}" for reason, texts in gaps.items() if reason not in seed_counts]
        return "; ".join(
            [*reasons, *(f"{'the other parts hold' if reasons else 'every part holds'} on {r}" for r in seed_counts)]
        )

    def to_json(self) -> dict[str, Any]:
        """The same as JSON values."""
        return {
            "number": self.number,
            "claim": self.text,
            "verdict": self.verdict,
            "why": self.why,
            "parts": [p.to_json() for p in self.parts],
        }


def _open(part: Part) -> str:
    """The reason why a part is open."""
    reason = next((t for m, t in zip(part.margins, part.told, strict=True) if m is None), None)
    if reason is not None:
        return reason
    passing = sum(m > 0 for m in part.known)
    if passing < len(part.known):
        return f"on {passing} of {len(part.known)} seeds"
    if len(part.known) < SEEDS:
        return f"{_count(len(part.known))}{_TOO_FEW}"
    return "on every seed, but the interval over seeds holds 0"


def _count(n: int) -> str:
    return "one seed" if n == 1 else f"{n} seeds"


def over(seeds: Sequence[tuple[float | None, str]], text: str, *, counts: bool = True) -> Part:
    """A part from one margin and its numbers per seed."""
    return Part(text, tuple(m for m, _ in seeds), tuple(t for _, t in seeds), counts)
