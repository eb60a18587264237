"""Stage 4: scores of all languages to neuron sets, presets and controls. SCORES SETS SUMMARY MODEL PAIRS.

The model and the training pairs are read only if a set on a safety pathway is asked for.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from ssn_eval.core import files, store
from ssn_eval.core.neurons import NeuronSet, expand_sites
from ssn_eval.core.origin import ModelRef
from ssn_eval.core.params import Params
from ssn_eval.core.presets import OF_HR, PRESETS, Preset
from ssn_eval.core.setnames import SetName
from ssn_eval.core.store import NeuronFile, ScoreFile
from ssn_eval.identification import contrast, single, targets
from ssn_eval.identification.rules import Evidence, evidence_of, halves_of
from ssn_eval.identification.summary import summarize
from ssn_eval.identification.targets import OnPathway
from ssn_eval.prompts.prompt import LABELS
from ssn_eval.stages.common import need, provenance, run_stage
from ssn_eval.stages.story import counted


def main(
    settings: Params,
    scores_folder: Path,
    out: Path,
    summary: Path,
    model: Path = Path("artifacts/model"),
    pairs: Path = Path("artifacts/pairs.jsonl"),
) -> str:
    """Write every set as JSON under `out`, and sizes, overlaps, stability and movement with p as one summary; return the sizes."""
    content = select_sets(settings, scores_folder, out, summary, {}, _on_pathway(settings, model, pairs))
    named = content["named"]
    if not named["ss"]:
        print(f"ssn_eval: {_no_shared(settings)}", file=sys.stderr)
    shared, safety = counted(named["ss"], "SS-Neuron"), counted(named["ms_hr"], "safety neuron")
    return f"{shared} of {content['candidates']:,}, {safety} of {settings.hr}"


def select_sets(
    settings: Params,
    scores_folder: Path,
    out: Path,
    summary: Path,
    more: Mapping[str, Any],
    on_pathway: OnPathway | None = None,
) -> dict[str, Any]:
    """As `main`; `more` is added to the provenance of every set. The summary is returned, too."""
    files_by_lang, model = read(settings.languages, scores_folder)
    evidence = evidence_of(settings.hr, files_by_lang)
    halves = halves_of(settings.hr, files_by_lang) or _older_halves(settings, scores_folder, model)
    selected = targets.select_all(settings, evidence, model, on_pathway)
    options, sites = settings.select, expand_sites(settings.select.sites)
    template = files_by_lang[settings.hr][0].provenance.get("template")  # older scores have none
    origin = (
        provenance(settings, scores=scores_folder)
        | ({} if template is None else {"template": template})
        | {"p": options.p, "sites": list(sites), "hr": settings.hr}
        | single.rule_provenance(options)
        | dict(more)
    )
    if options.scope != "layer":
        origin["scope"] = options.scope
    content = summarize(settings, evidence, halves, model, selected)
    presets = {name: {"preset": settings.targets[name].to_json()} for name in selected.presets.sets}
    intervals = contrast.intervals(evidence.contrasts)
    with files.atomic(out) as folder:
        folder.mkdir()
        for name, neurons in selected.sets().items():
            langs = _languages(name, settings)
            file = NeuronFile(
                neurons,
                model,
                origin | {"set": name} | presets.get(name, {}) | _stable(content, name),
                single.intervals_of(neurons, {lang: ends for lang, ends in intervals.items() if lang in langs}),
            )
            store.save_neurons(folder / f"{name}.json", file)
    for name, sentence in selected.presets.absent.items():
        if settings.targets[name] != PRESETS.get(name):  # a built-in one was not the user's wish
            print(f"ssn_eval: not made, because nothing asks for it: {sentence}", file=sys.stderr)
    content = content | {"model": model.to_json(), "provenance": origin}
    files.write_json(summary, content)
    return content


def _on_pathway(settings: Params, model_folder: Path, pairs_file: Path) -> OnPathway:
    """The part of a preset on a pathway that needs the model, which is loaded at the first call."""

    @cache
    def inputs() -> tuple[Any, Any]:
        from ssn_eval.models import loading
        from ssn_eval.prompts.pairs import read_pairs

        pairs = read_pairs(need(pairs_file, "prompts"))
        return loading.load(loading.read_spec(need(model_folder, "organism") / "spec.json")), pairs

    def on_pathway(preset: Preset, neurons: NeuronSet) -> NeuronSet:
        from ssn_eval.identification import acting

        loaded, pairs = inputs()
        langs = [settings.hr if code == OF_HR else code for code in preset.pathway]
        score = settings.score
        options = {"limit": score.prompts, "batch_size": score.batch_size, "seed": score.seed}
        return acting.on_pathways(loaded, neurons, pairs, langs, **options)  # type: ignore[arg-type]

    return on_pathway


def _no_shared(settings: Params) -> str:
    """The sentence for a run without shared neurons: what follows, and what to do."""
    return (
        f"no safety neuron of {settings.hr} is one of another language's, so SS is empty: its conditions are left out, and methods "
        f"that train it train nothing. Use a larger select.p (now {settings.select.p:g}) or more prompts."
    )


def _languages(name: str, settings: Params) -> tuple[str, ...]:
    """The languages whose contrast a set's file keeps: its own and HR, or all."""
    own = SetName.parse(name).language
    return (settings.hr, own) if own else settings.languages


def _stable(content: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The split-half stability of a set, for its provenance; a random control has none."""
    stability = (content["stability"] or {}).get("sets", {}).get(name)
    return {"stability": stability} if stability else {}


def read(languages: Sequence[str], folder: Path) -> tuple[dict[str, tuple[ScoreFile, ScoreFile]], ModelRef]:
    """The score files of some languages, and their model."""
    pairs: dict[str, tuple[ScoreFile, ScoreFile]] = {}
    model: ModelRef | None = None
    for lang in languages:
        pairs[lang], model = _pair(folder / lang, lang, model)
    assert model is not None  # params hold at least two languages
    return pairs, model


def _older_halves(settings: Params, folder: Path, model: ModelRef) -> tuple[Evidence, Evidence] | None:
    """The scores from each half of the prompts, which an earlier version kept in files of their own; None if no language has them."""
    if not any((folder / lang / "halves").exists() for lang in settings.languages):
        return None
    first, second = (
        evidence_of(
            settings.hr,
            {lang: _pair(folder / lang / "halves" / half, lang, model)[0] for lang in settings.languages},
        )
        for half in ("0", "1")
    )
    return first, second


def _pair(folder: Path, lang: str, model: ModelRef | None) -> tuple[tuple[ScoreFile, ScoreFile], ModelRef]:
    """One language's scores on D_jail and on D_norm, and their model, which must be the given one."""
    jail, norm = single.read_scores(*(need(folder / f"{label}.safetensors", "score") for label in LABELS))
    model = model or jail.model
    jail.model.refuse_other(model, f"The score file of {lang}")
    return (jail, norm), model


if __name__ == "__main__":
    run_stage(main)
