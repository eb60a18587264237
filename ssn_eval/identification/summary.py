"""The summary of a selection: sizes, overlaps, how they change with p, and how stable they are."""

from __future__ import annotations

from collections.abc import Sequence

from ssn_eval.core.languages import by_tier
from ssn_eval.core.neurons import NeuronSet, expand_sites, is_among, parse_key
from ssn_eval.core.origin import ModelRef
from ssn_eval.core.params import Params
from ssn_eval.identification import selection, stability, targets
from ssn_eval.identification.targets import ByLanguage, Selected
from ssn_eval.prompts.prompt import LABELS


def summarize(
    settings: Params,
    scores: ByLanguage,
    halves: tuple[ByLanguage, ByLanguage] | None,
    model: ModelRef,
    selected: Selected,
) -> dict[str, object]:
    """Sizes, overlaps, stability and movement with p of every set of a run, as JSON values.

    Args:
        settings: the run's params; `select` and `targets` count.
        scores: the scores of every language.
        halves: the scores from each half of the prompts; None if there are none.
        model: the model that was scored.
        selected: the sets.
    """
    return _sizes(settings, scores, selected) | {
        "targets": {name: len(neurons) for name, neurons in {**selected.presets.sets, **selected.controls}.items()},
        "targets_absent": selected.presets.absent,
        "by_p": _by_p(settings, scores, model),
        "stability": _stability(settings, halves, model) if halves else None,
    }


def _by_p(settings: Params, scores: ByLanguage, model: ModelRef) -> list[dict[str, object]]:
    values = dict.fromkeys((*settings.select.sensitivity, settings.select.p))
    sets = {p: targets.scored_sets(settings, scores, p, model) for p in sorted(values)}
    return stability.by_p(sets[settings.select.p], sets)


def _stability(settings: Params, halves: tuple[ByLanguage, ByLanguage], model: ModelRef) -> dict[str, object]:
    sites = expand_sites(settings.select.sites)
    first, second = (targets.scored_sets(settings, half, settings.select.p, model) for half in halves)
    spearman = {
        lang: {
            label: stability.rank_correlation(halves[0][lang][i], halves[1][lang][i], sites)
            for i, label in enumerate(LABELS)
        }
        for lang in settings.languages
    }
    return {"sets": stability.split_half(first, second, model.geometry), "spearman": spearman}


def _sizes(settings: Params, scores: ByLanguage, selected: Selected) -> dict[str, object]:
    options, sites = settings.select, expand_sites(settings.select.sites)
    families, named_sets = selected.families, selected.named
    sensitivity = []
    for group in dict.fromkeys(
        (str(options.sites) if isinstance(options.sites, str) else "chosen", "attention", "mlp")
    ):
        members = sites if group == "chosen" else tuple(s for s in expand_sites(group) if s in sites)
        for p in options.sensitivity if _candidates(scores, members) else ():
            sets = targets.families(scores, settings.hr, p, members, options.scope)
            for lang in settings.languages:
                shared = len(selection.shared(sets.ms[lang], sets.ms[settings.hr]))
                sensitivity.append({"p": p, "sites": group, "lang": lang, "ms": len(sets.ms[lang]), "ss": shared})
    by_language = {"ms": families.ms, "ss": families.ss, "private": families.private}
    return {
        "hr": settings.hr,
        "languages": list(settings.languages),
        "p": options.p,
        "scope": options.scope,
        "candidates": _candidates(scores, sites),
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
