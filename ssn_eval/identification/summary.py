"""The summary of a selection: sizes, overlaps, how they change with p, and how stable they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ssn_eval.core.languages import by_tier
from ssn_eval.core.neurons import NeuronSet, expand_sites, is_among, parse_key
from ssn_eval.core.origin import ModelRef
from ssn_eval.core.params import Params
from ssn_eval.identification import contrast, selection, stability, targets
from ssn_eval.identification.agreement import agreement, of_rules
from ssn_eval.identification.rules import ByLanguage, Evidence
from ssn_eval.identification.targets import Selected
from ssn_eval.prompts.prompt import LABELS


def summarize(
    settings: Params,
    evidence: Evidence,
    halves: tuple[Evidence, Evidence] | None,
    model: ModelRef,
    selected: Selected,
) -> dict[str, object]:
    """Sizes, overlaps, stability and movement with p of every set of a run, and how far the rules agree, as JSON values.

    Args:
        settings: the run's params; `select` and `targets` count.
        evidence: the scores of every language.
        halves: the same from each half of the prompts; None if there are none.
        model: the model that was scored.
        selected: the sets.
    """
    return _sizes(settings, evidence, selected) | {
        "targets": {name: len(neurons) for name, neurons in {**selected.presets.sets, **selected.controls}.items()},
        "targets_absent": selected.presets.absent,
        "by_p": _by_p(settings, evidence, model),
        "stability": _stability(settings, halves, model, selected) if halves else None,
        "contrast": _contrast(selected, evidence),
        "agreement": agreement(
            of_rules(settings.select.compare, "ss", evidence, halves, settings.select, model.geometry), model.geometry
        ),
    }


def _by_p(settings: Params, evidence: Evidence, model: ModelRef) -> list[dict[str, object]]:
    values = dict.fromkeys((*settings.select.sensitivity, settings.select.p))
    sets = {p: targets.scored_sets(settings, evidence, p, model) for p in sorted(values)}
    return stability.by_p(sets[settings.select.p], sets)


def _stability(
    settings: Params, halves: tuple[Evidence, Evidence], model: ModelRef, selected: Selected
) -> dict[str, object]:
    sites = expand_sites(settings.select.sites)
    scored = [name for name in selected.presets.sets if not settings.targets[name].pathway]
    names = [*selected.families.by_language(), *selected.families.named(), *scored]
    first, second = (
        {name: sets.get(name, NeuronSet(frozenset())) for name in names}
        for half in halves
        for sets in [targets.scored_sets(settings, half, settings.select.p, model)]
    )
    spearman = {
        lang: {
            label: stability.rank_correlation(halves[0].scores[lang][i], halves[1].scores[lang][i], sites)
            for i, label in enumerate(LABELS)
        }
        for lang in settings.languages
    }
    return {"sets": stability.split_half(first, second, model.geometry), "spearman": spearman}


def _contrast(selected: Selected, evidence: Evidence) -> dict[str, dict[str, dict[str, float]]]:
    """Set → language → the middle contrast of its neurons, and the share of them whose 95 % interval lies above 0."""
    intervals = contrast.intervals(evidence.contrasts)
    return (
        {
            name: {lang: contrast.spread(neurons, ends) for lang, ends in intervals.items()}
            for name, neurons in selected.sets().items()
            if neurons
        }
        if intervals
        else {}
    )


def _sizes(settings: Params, evidence: Evidence, selected: Selected) -> dict[str, object]:
    options, sites = settings.select, expand_sites(settings.select.sites)
    families, named_sets = selected.families, selected.named
    sensitivity = []
    for group in dict.fromkeys(
        (str(options.sites) if isinstance(options.sites, str) else "chosen", "attention", "mlp")
    ):
        members = sites if group == "chosen" else tuple(s for s in expand_sites(group) if s in sites)
        for p in options.sensitivity if _candidates(evidence.scores, members) else ():
            sets = evidence.families(replace(options, p=p, sites=list(members)))
            for lang in settings.languages:
                shared = len(sets.ss[lang] if lang != settings.hr else sets.ms[lang])
                sensitivity.append({"p": p, "sites": group, "lang": lang, "ms": len(sets.ms[lang]), "ss": shared})
    by_language = {"ms": families.ms, "ss": families.ss, "private": families.private}
    return {
        "hr": settings.hr,
        "languages": list(settings.languages),
        "rule": options.rule,
        "p": options.p,
        "scope": options.scope,
        "candidates": _candidates(evidence.scores, sites),
        "sizes": {name: {lang: len(one_set) for lang, one_set in sets.items()} for name, sets in by_language.items()},
        "named": {name: len(neurons) for name, neurons in named_sets.items()},
        "per_layer": {name: _layers(neurons) for name, neurons in named_sets.items()},
        "ss_per_layer": {lang: _layers(neurons) for lang, neurons in families.ss.items()},
        "per_key": {name: dict(neurons.per_key()) for name, neurons in named_sets.items()},
        "jaccard": selection.overlap(families.ms),
        "sharing": stability.sharing(families.ss, {"NHR": families.nhr, **by_tier(families.nhr)}),
        "sensitivity": sensitivity,
    }


def _candidates(scores: ByLanguage, sites: Sequence[str]) -> int:
    """The number of neurons of these sites that were scored."""
    jail, _ = next(iter(scores.values()))
    return sum(len(values) for key, values in jail.items() if is_among(parse_key(key)[1], sites))


def _layers(neurons: NeuronSet) -> dict[str, int]:
    return {str(layer): count for layer, count in neurons.per_layer().items()}
