"""Scores of one language → one neuron set: what `ssn select` does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ssn_eval.core.errors import EmptySetError, MismatchError, ParamsError
from ssn_eval.core.neurons import Geometry, NeuronSet, expand_sites, is_among, parse_key
from ssn_eval.core.origin import versions
from ssn_eval.core.rules import RULES
from ssn_eval.core.settings import SelectParams
from ssn_eval.core.store import Intervals, NeuronFile, ScoreFile, load_scores
from ssn_eval.identification import contrast, selection
from ssn_eval.identification.rules import Evidence, evidence_of, halves_of
from ssn_eval.identification.stability import split_half


class LanguageScores(NamedTuple):
    """The score files of one language."""

    jail: ScoreFile
    norm: ScoreFile


def read_scores(harmful: Path, harmless: Path) -> LanguageScores:
    """Read the scores of one language on D_jail and on D_norm.

    Raises:
        MismatchError: the files are of two models or languages, or of the other label.
    """
    jail, norm = load_scores(harmful), load_scores(harmless)
    norm.model.refuse_other(jail.model, f"The score file {harmless}")
    for path, file, label in ((harmful, jail, "harmful"), (harmless, norm, "harmless")):
        if (label_of_file := file.provenance.get("label", label)) != label:
            raise MismatchError(f"{path} holds scores on {label_of_file} prompts, where {label} ones are needed.")
    if jail.provenance.get("template") != norm.provenance.get("template"):
        raise MismatchError(
            f"{harmful} and {harmless} were scored with different template settings; score both with the same."
        )
    langs = [file.provenance.get("lang") for file in (jail, norm)]
    if langs[0] != langs[1]:
        raise MismatchError(
            f"{harmful} and {harmless} are of two languages ({' and '.join(map(str, langs))}); give both of one language."
        )
    return LanguageScores(jail, norm)


def select_one(
    what: str, scores: LanguageScores, hr_scores: LanguageScores | None, settings: SelectParams, seed: int = 0
) -> NeuronFile:
    """One neuron set of one language.

    Args:
        what: `ms`, `ss`, `private`, or `random`: the matched control of SS, or of MS without `hr_scores`.
        scores: of the language.
        hr_scores: of the high-resource language; `ss` and `private` need them.
        settings: rule, p, scope and sites.
        seed: of `random`.

    Raises:
        ParamsError: `ss` or `private` without the scores of the high-resource language, or a rule without statistics.
        MismatchError: the two languages were scored on two models.
        EmptySetError: no neuron is left.
    """
    if what in ("ss", "private") and hr_scores is None:
        raise ParamsError(
            f"{what} compares with the high-resource language: give its scores too (--hr-harmful and --hr-harmless)."
        )
    sites, geometry = expand_sites(settings.sites), scores.jail.model.geometry
    target = what if what != "random" else "ss" if hr_scores else "ms"
    files = {"own": scores}
    provenance: dict[str, Any] = {
        name: scores.jail.provenance[name] for name in ("lang", "method", "template") if name in scores.jail.provenance
    }
    if target != "ms" and hr_scores is not None:
        hr_scores.jail.model.refuse_other(scores.jail.model, "The score file of the high-resource language")
        files["hr"] = hr_scores
        provenance["hr"] = hr_scores.jail.provenance.get("lang")
    hr = "hr" if "hr" in files else "own"

    def one(evidence: Evidence) -> NeuronSet:
        families = evidence.families(settings)
        return (families.ms if target == "ms" else families.ss if target == "ss" else families.private)["own"]

    evidence = evidence_of(hr, files)
    neurons = one(evidence)
    if not neurons:
        raise EmptySetError(f"No {target} neuron {_advice(settings)}.")
    if halves := halves_of(hr, files):
        provenance |= _stability(halves, one, geometry)
    if what == "random":
        neurons = selection.matched_random(neurons, geometry, seed)
        provenance |= {"seed": seed, "control_of": target}
    scored = [parse_key(key)[1] for key in scores.jail.scores]
    provenance |= {
        "what": what,
        "p": settings.p,
        "scope": settings.scope,
        "sites": [name for name in sites if any(is_among(site, (name,)) for site in scored)],
        "versions": versions(),
        **rule_provenance(settings),
    }
    langs = {"own": str(provenance.get("lang", "own")), "hr": str(provenance.get("hr", "hr"))}
    intervals = {langs[name]: ends for name, ends in contrast.intervals(evidence.contrasts).items()}
    return NeuronFile(neurons, scores.jail.model, provenance, intervals_of(neurons, intervals))


def rule_provenance(settings: SelectParams) -> dict[str, Any]:
    """What a set's provenance says about the rule; nothing for the paper's."""
    rule = RULES[settings.rule]
    values = {"rule": settings.rule} if rule.contrast else {}
    return (
        values
        | ({"rate": settings.rate} if rule.by_rate else {})
        | ({"without_common": True} if settings.without_common else {})
    )


def intervals_of(neurons: NeuronSet, intervals: Mapping[str, Mapping[str, np.ndarray]]) -> Intervals:
    """The interval of every neuron's contrast, by language, as a neuron file keeps it.

    Args:
        neurons: of the set.
        intervals: language → site key → low and high of every neuron, `(2, width)` (`contrast.intervals`).
    """
    return {
        lang: {
            key: {"low": _rounded(ends[key][0][indices]), "high": _rounded(ends[key][1][indices])}
            for key, indices in neurons.by_key().items()
        }
        for lang, ends in intervals.items()
    }


def _rounded(values: np.ndarray) -> list[float]:
    return [round(value, 3) for value in values.tolist()]


def _advice(settings: SelectParams) -> str:
    """Where a set is empty and what would widen it."""
    if RULES[settings.rule].by_rate:
        return f"within the false discovery rate {settings.rate:g}; score more prompts, use a larger --rate, or --rule contrast"
    return f"at p = {settings.p:g} %; use a larger --p"


def _stability(
    halves: tuple[Evidence, Evidence], one: Callable[[Evidence], NeuronSet], geometry: Geometry
) -> dict[str, Any]:
    """The set's split-half stability for its provenance; nothing if a half of the prompts is too small for the rule."""
    try:
        first, second = map(one, halves)
    except ParamsError:
        return {}
    return {"stability": split_half({"set": first}, {"set": second}, geometry)["set"]}
