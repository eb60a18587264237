"""Scores of all languages → every set by name: MS, SS and private neurons by language, united, and by preset.

The definitions are in `selection.py` and `contrast.py`, the rules in `rules.py`, the presets' values and their checks in `presets.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

from ssn_eval.core import presets
from ssn_eval.core.errors import EmptySetError, ParamsError
from ssn_eval.core.neurons import Geometry, NeuronSet, expand_sites, is_among
from ssn_eval.core.origin import ModelRef
from ssn_eval.core.params import Params
from ssn_eval.core.presets import Preset
from ssn_eval.core.rules import CONTRASTS
from ssn_eval.core.setnames import FAMILIES, SETS, SetName
from ssn_eval.core.settings import SelectParams
from ssn_eval.identification import selection
from ssn_eval.identification.rules import Evidence, Families

ByRule = Callable[[str, Sequence[str]], NeuronSet]
"""a rule of `CONTRASTS` and NHR languages → the neurons that they share"""


def _no_statistics(*_asked: object) -> NeuronSet:
    raise ParamsError("The score files hold no statistics; score again.")


class Extras(NamedTuple):
    """What presets may need beyond the sets of every language; both raise ParamsError if the score files hold no statistics."""

    by_rule: ByRule = _no_statistics
    common: Callable[[], NeuronSet] = _no_statistics
    """the neurons that matter for every prompt"""


NO_EXTRAS = Extras()
"""of scores without statistics"""

OnPathway = Callable[[Preset, NeuronSet], NeuronSet]
"""a preset with `pathway` and the neurons that fit it otherwise → those that lie on the pathways of its languages"""


def target(name: str, preset: Preset, families: Families, num_layers: int, extras: Extras = NO_EXTRAS) -> NeuronSet:
    """The neurons of a preset.

    Args:
        name: its key in `targets`, for messages.
        preset: which neurons are meant.
        families: the sets of every language.
        num_layers: the model's number of layers.
        extras: what presets by contrast or without common neurons need.

    Raises:
        EmptySetError: no language of its tiers, no layer in its range, no neuron that fits, or no statistics where it needs them.
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
    try:
        parts = [
            selection.at_least([by_lang[source][lang] for lang in langs], k)
            if source in FAMILIES
            else extras.by_rule(source, langs)
            if source in CONTRASTS
            else families.ms[families.hr]
            for source in preset.source
        ]
        left_out = extras.common() if preset.without_common else NeuronSet(frozenset())
    except ParamsError as error:
        raise EmptySetError(f"targets.{name} cannot be made. {error}") from error
    united = selection.union(parts) - left_out
    neurons = NeuronSet(frozenset(n for n in united if n.layer in layers and is_among(n.site, sites)))
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


def make(
    chosen: Mapping[str, Preset],
    families: Families,
    num_layers: int,
    asked: Iterable[str] = (),
    extras: Extras = NO_EXTRAS,
    on_pathway: OnPathway | None = None,
) -> Targets:
    """Every preset, without those that only repeat a named set, and without those on a pathway if there is no `on_pathway`.

    A preset that nothing asks for may find no neuron: the shipped ones have to let any model and any languages pass.

    Args:
        chosen: name → preset.
        families: the sets of every language.
        num_layers: the model's number of layers.
        asked: names of sets that other stages use; of controls too.
        extras: as in `target`.
        on_pathway: the part of a preset that needs the model.

    Raises:
        EmptySetError: as `target`, for a preset that is asked for.
    """
    needed = {SetName.parse(name).base for name in asked}
    targets = Targets({}, {})
    for name, preset in chosen.items():
        try:
            if name in SETS or (preset.pathway and on_pathway is None):
                continue
            neurons = target(name, preset, families, num_layers, extras)
            if preset.pathway and on_pathway and not (neurons := on_pathway(preset, neurons)):
                raise EmptySetError(
                    f"targets.{name} holds no neuron: none of {' or '.join(preset.source)} acts together with one of the next layer, so "
                    f"there is no pathway; use a larger select.p, or leave {name} out."
                )
            targets.sets[name] = neurons
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


def select_all(settings: Params, evidence: Evidence, model: ModelRef, on_pathway: OnPathway | None = None) -> Selected:
    """Every set that a run asks for, from the scores of all its languages.

    Args:
        settings: the run's params: `select`, `targets`, and the sets that `validate` and `train` name.
        evidence: the scores of every language.
        model: the model that was scored.
        on_pathway: as in `make`; it is called only for presets that `validate`, `train` or `frontier` names.

    Raises:
        EmptySetError: a set that is asked for holds no neuron.
        ParamsError: a preset on a pathway is asked for, and there is no `on_pathway`.
        ParamsError, UnknownNameError, MismatchError: as `target`, `Evidence.families` and `selection.matched_random`.
    """
    trained = [settings.method(name).set for name in settings.train.methods]
    names = [*settings.validate.sets, *(name for name in trained if name)]
    sets = evidence.families(settings.select)
    named = sets.named()
    wanted = {SetName.parse(name).base for name in (*names, *_of_frontier(settings))}
    chosen = {name: preset for name, preset in settings.targets.items() if not preset.pathway or name in wanted}
    on_pathways = [name for name, preset in chosen.items() if preset.pathway]
    if on_pathways and on_pathway is None:
        raise ParamsError(f"The set {on_pathways[0]} needs the model; make it with the stage select, or `ssn pathway`.")
    extras = extras_of(settings.select, evidence)
    targets = make(chosen, sets, model.geometry.num_layers, names, extras, on_pathway)
    matched = controls(named | targets.sets, model.geometry, names)
    if named["ss"]:
        for seed in settings.select.random_seeds:
            named[f"random_{seed}"] = selection.matched_random(named["ss"], model.geometry, seed)
    return Selected(sets, named, targets, matched)


def _of_frontier(settings: Params) -> list[str]:
    """The sets that the frontier's methods use."""
    return [name for method in settings.frontier.methods if (name := settings.method(method).set)]


def scored_sets(settings: Params, evidence: Evidence, p: float, model: ModelRef) -> dict[str, NeuronSet]:
    """Every set that follows from scores alone, by name, at another `p`: all but the random ones and those on a pathway."""
    options = replace(settings.select, p=p)
    sets, extras = evidence.families(options), extras_of(options, evidence)
    presets = make(settings.targets, sets, model.geometry.num_layers, extras=extras).sets
    return sets.by_language() | sets.named() | presets


def extras_of(settings: SelectParams, evidence: Evidence) -> Extras:
    """What presets need beyond the sets of every language, from the scores."""
    return Extras(partial(evidence.shared, settings), partial(evidence.common, settings))
