"""Scores of all languages → every set by name: MS, SS and private neurons by language, united, and by preset.

The definitions are in `selection.py`, the presets' values and their checks in `presets.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from ssn_eval.core import presets
from ssn_eval.core.errors import EmptySetError, MismatchError, ParamsError
from ssn_eval.core.neurons import SITES, Geometry, NeuronSet, expand_sites, is_among, parse_key
from ssn_eval.core.origin import ModelRef, versions
from ssn_eval.core.params import Params
from ssn_eval.core.presets import Preset
from ssn_eval.core.setnames import FAMILIES, SETS, SetName
from ssn_eval.core.settings import SelectParams
from ssn_eval.core.store import NeuronFile, ScoreFile, Scores, load_scores
from ssn_eval.identification import selection
from ssn_eval.identification.selection import Scope

ByLanguage = Mapping[str, tuple[Scores, Scores]]
"""language → scores on D_jail, on D_norm"""


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
        settings: p, scope and sites.
        seed: of `random`.

    Raises:
        ParamsError: `ss` or `private` without the scores of the high-resource language.
        MismatchError: the two languages were scored on two models.
        EmptySetError: no neuron is left.
    """
    if what in ("ss", "private") and hr_scores is None:
        raise ParamsError(
            f"{what} compares with the high-resource language: give its scores too (--hr-harmful and --hr-harmless)."
        )
    sites = expand_sites(settings.sites)
    target = what if what != "random" else "ss" if hr_scores else "ms"
    neurons = _ms(scores, settings, sites)
    provenance: dict[str, Any] = {
        name: scores.jail.provenance[name] for name in ("lang", "method", "template") if name in scores.jail.provenance
    }
    if target != "ms" and hr_scores is not None:
        hr_scores.jail.model.refuse_other(scores.jail.model, "The score file of the high-resource language")
        hr = _ms(hr_scores, settings, sites)
        neurons = selection.shared(neurons, hr) if target == "ss" else selection.private(neurons, hr)
        provenance["hr"] = hr_scores.jail.provenance.get("lang")
    if not neurons:
        raise EmptySetError(f"No {target} neuron at p = {settings.p:g} %; use a larger --p.")
    if what == "random":
        neurons = selection.matched_random(neurons, scores.jail.model.geometry, seed)
        provenance |= {"seed": seed, "control_of": target}
    scored = [parse_key(key)[1] for key in scores.jail.scores]
    provenance |= {
        "what": what,
        "p": settings.p,
        "scope": settings.scope,
        "sites": [name for name in sites if any(is_among(site, (name,)) for site in scored)],
        "versions": versions(),
    }
    return NeuronFile(neurons, scores.jail.model, provenance)


def _ms(scores: LanguageScores, settings: SelectParams, sites: Sequence[str]) -> NeuronSet:
    return selection.ms(scores.jail.scores, scores.norm.scores, settings.p, sites, settings.scope)


@dataclass(frozen=True)
class Families:
    """The sets of every language that one selection gives."""

    hr: str
    ms: Mapping[str, NeuronSet]
    """language, HR too → MS_l"""

    @property
    def nhr(self) -> tuple[str, ...]:
        """The languages other than HR, in order."""
        return tuple(lang for lang in self.ms if lang != self.hr)

    @property
    def ss(self) -> dict[str, NeuronSet]:
        """NHR language → SS_l."""
        return {lang: selection.shared(self.ms[lang], self.ms[self.hr]) for lang in self.nhr}

    @property
    def private(self) -> dict[str, NeuronSet]:
        """NHR language → MS_l - MS_HR."""
        return {lang: selection.private(self.ms[lang], self.ms[self.hr]) for lang in self.nhr}

    def by_language(self) -> dict[str, NeuronSet]:
        """`ms/<lang>`, `ss/<lang>`, `private/<lang>` → set."""
        families = {"ms": self.ms, "ss": self.ss, "private": self.private}
        return {f"{family}/{lang}": neurons for family, sets in families.items() for lang, neurons in sets.items()}

    def named(self) -> dict[str, NeuronSet]:
        """`ms_hr`, and `ss` and `private` united over the NHR languages."""
        return {
            "ms_hr": self.ms[self.hr],
            "ss": selection.union(list(self.ss.values())),
            "private": selection.union(list(self.private.values())),
        }


def families(
    scores: Mapping[str, tuple[Scores, Scores]],
    hr: str,
    p: float,
    sites: Sequence[str] = SITES,
    scope: Scope = "layer",
) -> Families:
    """The sets of every language.

    Args:
        scores: language → scores on D_jail and on D_norm.
        hr: the high-resource reference language, one of them.
        p: as in `top`.
        sites: as in `top`.
        scope: as in `top`.

    Raises:
        as `ms`.
    """
    return Families(hr, {lang: selection.ms(jail, norm, p, sites, scope) for lang, (jail, norm) in scores.items()})


def target(name: str, preset: Preset, families: Families, num_layers: int) -> NeuronSet:
    """The neurons of a preset.

    Args:
        name: its key in `targets`, for messages.
        preset: which neurons are meant.
        families: the sets of every language.
        num_layers: the model's number of layers.

    Raises:
        EmptySetError: no language of its tiers, no layer in its range, or no neuron that fits.
        ParamsError, UnknownNameError: as `presets.check`.
    """
    presets.check(name, preset, families.nhr)
    langs, layers, sites = preset.counted(families.nhr), preset.depth(num_layers), expand_sites(preset.sites)
    if not langs:
        raise EmptySetError(presets.no_language(name, preset, families.nhr))
    if not layers:
        low, high = preset.layers
        raise EmptySetError(
            f"targets.{name}.layers = [{low:g}, {high:g}] holds none of this model's {num_layers} layers; widen it."
        )
    by_lang = {"ms": families.ms, "ss": families.ss, "private": families.private}
    k = preset.needed(len(langs))
    parts = [
        selection.at_least([by_lang[source][lang] for lang in langs], k)
        if source in FAMILIES
        else families.ms[families.hr]
        for source in preset.source
    ]
    neurons = NeuronSet(frozenset(n for n in selection.union(parts) if n.layer in layers and is_among(n.site, sites)))
    if not neurons:
        raise EmptySetError(
            f"targets.{name} holds no neuron: none of {' or '.join(preset.source)} is in the sets of {k} of "
            f"{', '.join(langs)}, in the sites {', '.join(sites)}, in layers {layers[0]} to {layers[-1]}; "
            f"use a larger select.p or a wider preset."
        )
    return neurons


class Targets(NamedTuple):
    """The presets that a selection could make, and why it could not make the others."""

    sets: dict[str, NeuronSet]
    absent: dict[str, str]
    """name → one sentence"""


def make(chosen: Mapping[str, Preset], families: Families, num_layers: int, asked: Iterable[str] = ()) -> Targets:
    """Every preset, without those that only repeat a named set.

    A preset that nothing asks for may find no neuron: the shipped ones have to let any model and any languages pass.

    Args:
        chosen: name → preset.
        families: the sets of every language.
        num_layers: the model's number of layers.
        asked: names of sets that other stages use; of controls too.

    Raises:
        EmptySetError: as `target`, for a preset that is asked for.
    """
    needed = {SetName.parse(name).base for name in asked}
    targets = Targets({}, {})
    for name, preset in chosen.items():
        try:
            if name not in SETS:
                targets.sets[name] = target(name, preset, families, num_layers)
        except EmptySetError as error:
            if name in needed:
                raise
            targets.absent[name] = str(error)
    return targets


def controls(sets: Mapping[str, NeuronSet], geometry: Geometry, asked: Iterable[str]) -> dict[str, NeuronSet]:
    """The matched random controls among the names asked for: `<set>.random_<seed>`.

    Raises:
        EmptySetError, MismatchError: as `selection.matched_random`.
    """
    names = [SetName.parse(name) for name in asked]
    return {
        str(name): selection.matched_random(sets[name.base], geometry, name.seed)
        for name in names
        if name.base and name.seed is not None
    }


@dataclass(frozen=True)
class Selected:
    """Every set of a run."""

    families: Families
    named: Mapping[str, NeuronSet]
    """`ms_hr`, `ss`, `private`, and `random_<seed>`, the matched random controls of SS"""
    presets: Targets
    controls: Mapping[str, NeuronSet]
    """`<set>.random_<seed>` → matched random control"""

    def sets(self) -> dict[str, NeuronSet]:
        """Name → set, of all of them."""
        return {**self.families.by_language(), **self.named, **self.presets.sets, **self.controls}


def select_all(settings: Params, scores: ByLanguage, model: ModelRef) -> Selected:
    """Every set that a run asks for, from the scores of all its languages.

    Args:
        settings: the run's params: `select`, `targets`, and the sets that `validate` and `train` name.
        scores: language → scores on D_jail and on D_norm.
        model: the model that was scored.

    Raises:
        EmptySetError: a set that is asked for holds no neuron.
        ParamsError, UnknownNameError, MismatchError: as `target` and `selection.matched_random`.
    """
    trained = [settings.method(name).set for name in settings.train.methods]
    names = [*settings.validate.sets, *(name for name in trained if name)]
    sets = _families(settings, scores, settings.select.p)
    named = sets.named()
    targets = make(settings.targets, sets, model.geometry.num_layers, names)
    matched = controls(named | targets.sets, model.geometry, names)
    if named["ss"]:
        for seed in settings.select.random_seeds:
            named[f"random_{seed}"] = selection.matched_random(named["ss"], model.geometry, seed)
    return Selected(sets, named, targets, matched)


def scored_sets(settings: Params, scores: ByLanguage, p: float, model: ModelRef) -> dict[str, NeuronSet]:
    """Every set that follows from scores alone, by name, at another `p`: all but the random ones."""
    sets = _families(settings, scores, p)
    return sets.by_language() | sets.named() | make(settings.targets, sets, model.geometry.num_layers).sets


def _families(settings: Params, scores: ByLanguage, p: float) -> Families:
    options = settings.select
    return families(scores, settings.hr, p, expand_sites(options.sites), options.scope)
