"""Stage 4: scores of all languages to neuron sets and controls. SCORES SETS SUMMARY."""

from __future__ import annotations

from pathlib import Path

from ssn_eval import files, selection, store
from ssn_eval.neurons import NeuronSet, expand_sites
from ssn_eval.params import Params
from ssn_eval.stages.common import need, provenance, run
from ssn_eval.store import ModelRef, NeuronFile, Scores


def main(settings: Params, scores_folder: Path, out: Path, summary: Path) -> None:
    """Write every set as JSON under `out`, and sizes, overlaps and sensitivity as one summary."""
    scores, model = _read(settings, scores_folder)
    chosen, sites = settings.select, expand_sites(settings.select.sites)
    ms = {lang: selection.ms(jail, norm, chosen.p, sites) for lang, (jail, norm) in scores.items()}
    hr = ms[settings.hr]
    ss = {lang: selection.shared(ms[lang], hr) for lang in settings.nhr}
    private = {lang: selection.private(ms[lang], hr) for lang in settings.nhr}
    named = {"ms_hr": hr, "ss": selection.union(list(ss.values())), "private": selection.union(list(private.values()))}
    if named["ss"]:
        for seed in chosen.random_seeds:
            named[f"random_{seed}"] = selection.matched_random(named["ss"], model.geometry, seed)
    made = provenance(settings, scores=scores_folder) | {"p": chosen.p, "sites": list(sites), "hr": settings.hr}
    with files.atomic(out) as folder:
        folder.mkdir()
        for family, sets in (("ms", ms), ("ss", ss), ("private", private)):
            for lang, neurons in sets.items():
                _save(folder / family / f"{lang}.json", neurons, model, made | {"set": f"{family}/{lang}"})
        for name, neurons in named.items():
            _save(folder / f"{name}.json", neurons, model, made | {"set": name})
    report = _summary(settings, scores, ms, named, model)
    files.write_json(summary, report | {"model": model.to_json(), "provenance": made})


def _save(path: Path, neurons: NeuronSet, model: ModelRef, made: dict[str, object]) -> None:
    store.save_neurons(path, NeuronFile(neurons, model, made))


def _read(settings: Params, folder: Path) -> tuple[dict[str, tuple[Scores, Scores]], ModelRef]:
    """`{lang: (on D_jail, on D_norm)}` of the params' languages, all of one model."""
    scores: dict[str, tuple[Scores, Scores]] = {}
    model: ModelRef | None = None
    for lang in settings.languages:
        pair = [
            store.load_scores(need(folder / lang / f"{label}.safetensors", f"score@{lang}"))
            for label in ("harmful", "harmless")
        ]
        for file in pair:
            model = model or file.model
            file.model.refuse_other(model, f"The score file of {lang}")
        scores[lang] = (pair[0].scores, pair[1].scores)
    assert model is not None  # params hold at least two languages
    return scores, model


def _summary(
    settings: Params,
    scores: dict[str, tuple[Scores, Scores]],
    ms: dict[str, NeuronSet],
    named: dict[str, NeuronSet],
    model: ModelRef,
) -> dict[str, object]:
    chosen, hr = settings.select, ms[settings.hr]
    sites = expand_sites(chosen.sites)
    sensitivity = []
    for group in dict.fromkeys((str(chosen.sites) if isinstance(chosen.sites, str) else "chosen", "attention", "mlp")):
        members = sites if group == "chosen" else tuple(s for s in expand_sites(group) if s in sites)
        for p in chosen.sensitivity if members else ():
            sets = {lang: selection.ms(*scores[lang], p, members) for lang in settings.languages}
            for lang in settings.languages:
                shared = len(selection.shared(sets[lang], sets[settings.hr]))
                sensitivity.append({"p": p, "sites": group, "lang": lang, "ms": len(sets[lang]), "ss": shared})
    return {
        "hr": settings.hr,
        "languages": list(settings.languages),
        "p": chosen.p,
        "candidates": model.geometry.size(sites),
        "sizes": {
            "ms": {lang: len(neurons) for lang, neurons in ms.items()},
            "ss": {lang: len(ms[lang] & hr) for lang in settings.nhr},
            "private": {lang: len(ms[lang] - hr) for lang in settings.nhr},
        },
        "named": {name: len(neurons) for name, neurons in named.items()},
        "per_layer": {name: {str(k): v for k, v in neurons.per_layer().items()} for name, neurons in named.items()},
        "per_key": {name: dict(neurons.per_key()) for name, neurons in named.items()},
        "jaccard": selection.overlap(ms),
        "sensitivity": sensitivity,
    }


if __name__ == "__main__":
    run(main)
