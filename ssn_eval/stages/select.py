"""Stage 4: scores of all languages to neuron sets, presets and controls. SCORES SETS SUMMARY."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from ssn_eval import reliability, selection, stability, targets
from ssn_eval.core import files, store
from ssn_eval.core.languages import by_tier
from ssn_eval.core.neurons import NeuronSet, expand_sites, is_among, parse_key
from ssn_eval.core.origin import ModelRef
from ssn_eval.core.params import Params
from ssn_eval.core.store import NeuronFile, Scores
from ssn_eval.stages.common import need, provenance, run_stage
from ssn_eval.targets import Families

ByLanguage = Mapping[str, tuple[Scores, Scores]]
"""language → scores on D_jail, on D_norm"""
LABELS = ("harmful", "harmless")
"""D_jail and D_norm, as the score stage names its files"""


def main(settings: Params, scores_folder: Path, out: Path, summary: Path) -> None:
    """Write every set as JSON under `out`, and sizes, overlaps, stability and movement with p as one summary."""
    scores, model = _read(settings, scores_folder)
    halves = _halves(settings, scores_folder, model)
    chosen, sites = settings.select, expand_sites(settings.select.sites)
    trained = [settings.method(name).set for name in settings.train.methods]
    asked = [*settings.validate.sets, *(name for name in trained if name)]
    found = _families(settings, scores, chosen.p)
    named = found.named()
    presets = targets.make(settings.targets, found, model.geometry.num_layers, asked)
    controls = targets.controls(named | presets.sets, model.geometry, asked)
    if named["ss"]:
        for seed in chosen.random_seeds:
            named[f"random_{seed}"] = selection.matched_random(named["ss"], model.geometry, seed)
    made = provenance(settings, scores=scores_folder) | {"p": chosen.p, "sites": list(sites), "hr": settings.hr}
    if chosen.scope != "layer":
        made["scope"] = chosen.scope
    preset = {name: {"preset": settings.targets[name].to_json()} for name in presets.sets}
    with files.atomic(out) as folder:
        folder.mkdir()
        for name, neurons in (found.by_language() | named | presets.sets | controls).items():
            origin = made | {"set": name} | preset.get(name, {})
            store.save_neurons(folder / f"{name}.json", NeuronFile(neurons, model, origin))
    for sentence in presets.absent.values():
        print(f"ssn_eval: not made, as nothing asks for it: {sentence}", file=sys.stderr)
    report = _summary(settings, scores, found, named) | {
        "targets": {name: len(neurons) for name, neurons in (presets.sets | controls).items()},
        "targets_absent": presets.absent,
        "by_p": _by_p(settings, scores, model),
        "stability": _stability(settings, halves, model) if halves else None,
    }
    files.write_json(summary, report | {"model": model.to_json(), "provenance": made})


def _read(settings: Params, folder: Path) -> tuple[ByLanguage, ModelRef]:
    """The scores of the params' languages, all of one model."""
    scores: dict[str, tuple[Scores, Scores]] = {}
    model: ModelRef | None = None
    for lang in settings.languages:
        scores[lang], model = _pair(folder / lang, lang, model)
    assert model is not None  # params hold at least two languages
    return scores, model


def _halves(settings: Params, folder: Path, model: ModelRef) -> tuple[ByLanguage, ByLanguage] | None:
    """The scores from each half of the prompts; None where no language has them."""
    if not any((folder / lang / "halves").exists() for lang in settings.languages):
        return None
    first, second = (
        {lang: _pair(folder / lang / "halves" / half, lang, model)[0] for lang in settings.languages}
        for half in ("0", "1")
    )
    return first, second


def _pair(folder: Path, lang: str, model: ModelRef | None) -> tuple[tuple[Scores, Scores], ModelRef]:
    """One language's scores on D_jail and on D_norm, and their model, which has to be the one given."""
    jail, norm = (store.load_scores(need(folder / f"{label}.safetensors", f"score@{lang}")) for label in LABELS)
    for file in (jail, norm):
        model = model or file.model
        file.model.refuse_other(model, f"The score file of {lang}")
    return (jail.scores, norm.scores), model or jail.model


def _families(settings: Params, scores: ByLanguage, p: float) -> Families:
    chosen = settings.select
    return targets.families(scores, settings.hr, p, expand_sites(chosen.sites), chosen.scope)


def _everything(settings: Params, scores: ByLanguage, p: float, model: ModelRef) -> dict[str, NeuronSet]:
    """Every set that scores alone decide, by name: not the random ones."""
    found = _families(settings, scores, p)
    presets = targets.make(settings.targets, found, model.geometry.num_layers)
    return found.by_language() | found.named() | presets.sets


def _by_p(settings: Params, scores: ByLanguage, model: ModelRef) -> list[dict[str, object]]:
    values = dict.fromkeys((*settings.select.sensitivity, settings.select.p))
    sets = {p: _everything(settings, scores, p, model) for p in sorted(values)}
    return stability.by_p(sets[settings.select.p], sets)


def _stability(settings: Params, halves: tuple[ByLanguage, ByLanguage], model: ModelRef) -> dict[str, object]:
    sites = expand_sites(settings.select.sites)
    first, second = (_everything(settings, half, settings.select.p, model) for half in halves)
    spearman = {
        lang: {
            label: reliability.rank_correlation(halves[0][lang][i], halves[1][lang][i], sites)
            for i, label in enumerate(LABELS)
        }
        for lang in settings.languages
    }
    return {"sets": stability.split_half(first, second, model.geometry), "spearman": spearman}


def _summary(
    settings: Params, scores: ByLanguage, found: Families, named: Mapping[str, NeuronSet]
) -> dict[str, object]:
    chosen, sites = settings.select, expand_sites(settings.select.sites)
    sensitivity = []
    for group in dict.fromkeys((str(chosen.sites) if isinstance(chosen.sites, str) else "chosen", "attention", "mlp")):
        members = sites if group == "chosen" else tuple(s for s in expand_sites(group) if s in sites)
        for p in chosen.sensitivity if _candidates(scores, members) else ():
            sets = targets.families(scores, settings.hr, p, members, chosen.scope)
            for lang in settings.languages:
                shared = len(selection.shared(sets.ms[lang], sets.ms[settings.hr]))
                sensitivity.append({"p": p, "sites": group, "lang": lang, "ms": len(sets.ms[lang]), "ss": shared})
    families = {"ms": found.ms, "ss": found.ss, "private": found.private}
    return {
        "hr": settings.hr,
        "languages": list(settings.languages),
        "p": chosen.p,
        "scope": chosen.scope,
        "candidates": _candidates(scores, sites),
        "sizes": {name: {lang: len(one) for lang, one in sets.items()} for name, sets in families.items()},
        "named": {name: len(neurons) for name, neurons in named.items()},
        "per_layer": {name: _layers(neurons) for name, neurons in named.items()},
        "ss_per_layer": {lang: _layers(neurons) for lang, neurons in found.ss.items()},
        "per_key": {name: dict(neurons.per_key()) for name, neurons in named.items()},
        "jaccard": selection.overlap(found.ms),
        "sharing": stability.sharing(found.ss, {"NHR": found.nhr, **by_tier(found.nhr)}),
        "sensitivity": sensitivity,
    }


def _candidates(scores: ByLanguage, sites: Sequence[str]) -> int:
    """How many neurons of these sites were scored."""
    jail, _ = next(iter(scores.values()))
    return sum(len(values) for key, values in jail.items() if is_among(parse_key(key)[1], sites))


def _layers(neurons: NeuronSet) -> dict[str, int]:
    return {str(layer): count for layer, count in neurons.per_layer().items()}


if __name__ == "__main__":
    run_stage(main)
