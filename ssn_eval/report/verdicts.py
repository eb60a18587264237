"""How a claim is judged: parts with a margin a seed, and one rule from margins to reproduced, not reproduced or unclear.

A *margin* is by how much a seed passes a part's bar, so that a part holds on a seed where its margin is above 0.
- A part holds if it holds on every one of at least three seeds and the 95 % interval of the mean margin lies above 0.
- It fails if it holds on no seed, or if that interval lies below 0.
- Else it is open: too few seeds, seeds that disagree, an interval that holds 0, or something that was not measured.

A claim is reproduced if all its parts hold, not reproduced if one fails, not measured if nothing of it was measured, and else
unclear. One run is one seed: unclear at best.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ssn_eval.core.statistics import Estimate, mean_over_seeds

SEEDS = 3
"""repetitions that it takes to call a claim reproduced"""

_TOO_FEW = f", and it takes {SEEDS}"

Status = Literal["holds", "fails", "open"]
Word = Literal["reproduced", "not reproduced", "unclear", "not measured"]


@dataclass(frozen=True)
class Part:
    """One thing that a claim says, with its bar."""

    text: str
    margins: tuple[float | None, ...]
    """one a seed; None where it was not measured"""
    told: tuple[str, ...]
    """the numbers behind each margin, or why there is none"""
    counts: bool = True
    """False: shown beside the claim, and no part of it"""

    @property
    def known(self) -> list[float]:
        """The margins that were measured."""
        return [m for m in self.margins if m is not None]

    @property
    def interval(self) -> Estimate | None:
        """The mean margin over seeds with Student's interval; None with fewer than two."""
        return mean_over_seeds(self.known) if len(self.known) > 1 else None

    @property
    def status(self) -> Status:
        """Does it hold?"""
        known, interval = self.known, self.interval
        if not known:
            return "open"
        if all(m <= 0 for m in known) or (interval and interval.high < 0):
            return "fails"
        enough = len(known) == len(self.margins) >= SEEDS
        sure = enough and all(m > 0 for m in known) and interval is not None and interval.low > 0
        return "holds" if sure else "open"

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        rounded = [None if m is None else round(m, 4) for m in self.margins]
        found = self.interval
        mean = None if found is None else [round(v, 4) for v in (found.value, found.low, found.high)]
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
        """The rule of this module."""
        counted = [p for p in self.parts if p.counts]
        statuses = {p.status for p in counted}
        if not any(p.known for p in counted):
            return "not measured"
        if "fails" in statuses:
            return "not reproduced"
        return "reproduced" if statuses == {"holds"} else "unclear"

    @property
    def why(self) -> str:
        """What decides the verdict."""
        counted = [p for p in self.parts if p.counts]
        verdict = self.verdict
        if verdict == "reproduced":
            return f"every part holds on {min(len(p.margins) for p in counted)} seeds"
        if verdict == "not reproduced":
            return "fails: " + "; ".join(p.text for p in counted if p.status == "fails")
        gaps: dict[str, list[str]] = {}
        for part in counted:
            if part.status == "open":
                gaps.setdefault(_open(part), []).append(part.text)
        few = {reason: texts for reason, texts in gaps.items() if reason.endswith(_TOO_FEW)}
        told = [f"{', '.join(texts)}: {reason}" for reason, texts in gaps.items() if reason not in few]
        return "; ".join([*told, *(f"{'the other parts hold' if told else 'every part holds'} on {r}" for r in few)])

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "number": self.number,
            "claim": self.text,
            "verdict": self.verdict,
            "why": self.why,
            "parts": [p.to_json() for p in self.parts],
        }


def _open(part: Part) -> str:
    """Why a part is open."""
    missing = next((t for m, t in zip(part.margins, part.told, strict=True) if m is None), None)
    if missing is not None:
        return missing
    held = sum(m > 0 for m in part.known)
    if held < len(part.known):
        return f"on {held} of {len(part.known)} seeds"
    if len(part.known) < SEEDS:
        return f"{_count(len(part.known))}{_TOO_FEW}"
    return "on every seed, but the interval over seeds holds 0"


def _count(n: int) -> str:
    return "one seed" if n == 1 else f"{n} seeds"


def over(seeds: Sequence[tuple[float | None, str]], text: str, *, counts: bool = True) -> Part:
    """A part from one margin and its numbers a seed."""
    return Part(text, tuple(m for m, _ in seeds), tuple(t for _, t in seeds), counts)
