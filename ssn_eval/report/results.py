"""The pipeline's result files as values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssn_eval import files
from ssn_eval.errors import FormatError, MissingInputError
from ssn_eval.statistics import Rate, wilson


@dataclass(frozen=True)
class Condition:
    """One measured state of the model: the base, an intervention or a trained variant."""

    name: str
    by_lang: Mapping[str, Mapping[str, Any]]
    """lang → {"refusal", "harmless_refusal", "capability", "invalid": {"successes", "total"} or None, "unscored"}"""
    verdicts: Mapping[str, Mapping[str, int]]
    """lang → prompt id → 1 refused, 0 not (harmful held-out prompts)"""

    def rate(self, lang: str, what: str) -> Rate | None:
        """A rate with its Wilson interval; None where it was not measured."""
        counts = self.by_lang[lang].get(what)
        return wilson(counts["successes"], counts["total"]) if counts and counts["total"] else None

    def mean(self, langs: tuple[str, ...], what: str) -> float | None:
        """The mean of a rate over languages, each with equal weight."""
        rates = [r.value for r in (self.rate(lang, what) for lang in langs) if r]
        return sum(rates) / len(rates) if rates else None


@dataclass(frozen=True)
class Results:
    """Everything that the report is made from."""

    select: Mapping[str, Any]
    base: Condition
    trained: Mapping[str, Condition]
    """method → condition"""
    interventions: Mapping[str, Mapping[str, Condition]]
    """set → op → condition"""
    training: Mapping[str, Mapping[str, Any]]
    """method → {"trainable", "parameters", "loss"}"""
    provenance: Mapping[str, Any]

    @property
    def languages(self) -> tuple[str, ...]:
        """All languages, HR first."""
        return tuple(self.select["languages"])

    @property
    def nhr(self) -> tuple[str, ...]:
        """The languages other than HR."""
        return tuple(lang for lang in self.languages if lang != self.select["hr"])

    def rows(self) -> Iterator[tuple[str, Condition]]:
        """The main comparison: base, suppressed SS and MS, each random control, amplified SS, trained variants."""
        yield "base", self.base
        for name, ops in self.interventions.items():
            if "suppress" in ops:
                yield f"suppress {name}", ops["suppress"]
        for op, condition in self.interventions.get("ss", {}).items():
            if op != "suppress":
                yield f"{op} ss", condition
        for method, condition in self.trained.items():
            yield f"train {method}", condition


def read(folder: Path) -> Results:
    """Read `select.json`, `evaluate/*.json`, `validate/*.json` and `train/*.json`; only the first two kinds must be there.

    Raises:
        MissingInputError: `select.json` or `evaluate/base.json` is missing.
        FormatError: a file is not what its name says.
    """
    if not (folder / "select.json").is_file() or not (folder / "evaluate" / "base.json").is_file():
        raise MissingInputError(f"No finished results in {folder}: select.json or evaluate/base.json is missing; run `dvc repro`.")
    try:
        select = files.read_json(folder / "select.json", "the summary of `select`")
        evaluated = {p.stem: files.read_json(p, "an evaluation") for p in sorted((folder / "evaluate").glob("*.json"))}
        validated = {p.stem: files.read_json(p, "a validation") for p in sorted((folder / "validate").glob("*.json"))}
        training = {p.stem: files.read_json(p, "a training summary") for p in sorted((folder / "train").glob("*.json"))}
        conditions = {name: Condition(name, d["by_lang"], d["verdicts"]) for name, d in evaluated.items()}
        interventions = {
            name: {op: Condition(f"{op} {name}", c["by_lang"], c["verdicts"]) for op, c in d["conditions"].items()}
            for name, d in validated.items()
        }
        order = ("ss", "ms_hr", "private")
        names = [n for n in order if n in interventions] + [n for n in interventions if n not in order]
        base = conditions.pop("base")
        provenance = {"model": evaluated["base"].get("model"), "made": evaluated["base"].get("provenance"), "select": select["provenance"]}
        return Results(select, base, conditions, {n: interventions[n] for n in names}, training, provenance)
    except (KeyError, TypeError, AttributeError) as error:
        raise FormatError(f"The results in {folder} are not complete: {error!r}; run `dvc repro`.") from error
