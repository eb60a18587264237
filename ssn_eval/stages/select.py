"""Stage 4: scores of all languages to neuron sets, presets and controls. SCORES SETS SUMMARY."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from ssn_eval.core import files, store
from ssn_eval.core.neurons import expand_sites
from ssn_eval.core.origin import ModelRef
from ssn_eval.core.params import Params
from ssn_eval.core.store import NeuronFile, Scores
from ssn_eval.identification import targets
from ssn_eval.identification.summary import summarize
from ssn_eval.identification.targets import ByLanguage
from ssn_eval.prompts.prompt import LABELS
from ssn_eval.stages.common import need, provenance, run_stage


def main(settings: Params, scores_folder: Path, out: Path, summary: Path) -> None:
    """Write every set as JSON under `out`, and sizes, overlaps, stability and movement with p as one summary."""
    scores, model, template = _read(settings, scores_folder)
    halves = _halves(settings, scores_folder, model)
    selected = targets.select_all(settings, scores, model)
    options, sites = settings.select, expand_sites(settings.select.sites)
    origin = (
        provenance(settings, scores=scores_folder)
        | template
        | {"p": options.p, "sites": list(sites), "hr": settings.hr}
    )
    if options.scope != "layer":
        origin["scope"] = options.scope
    presets = {name: {"preset": settings.targets[name].to_json()} for name in selected.presets.sets}
    with files.atomic(out) as folder:
        folder.mkdir()
        for name, neurons in selected.sets().items():
            file = NeuronFile(neurons, model, origin | {"set": name} | presets.get(name, {}))
            store.save_neurons(folder / f"{name}.json", file)
    for sentence in selected.presets.absent.values():
        print(f"ssn_eval: not made, because nothing asks for it: {sentence}", file=sys.stderr)
    content = summarize(settings, scores, halves, model, selected)
    files.write_json(summary, content | {"model": model.to_json(), "provenance": origin})


def _read(settings: Params, folder: Path) -> tuple[ByLanguage, ModelRef, dict[str, Any]]:
    """The scores of the params' languages, their model, and its template settings as `{"template": …}` (older scores have none)."""
    scores: dict[str, tuple[Scores, Scores]] = {}
    model: ModelRef | None = None
    for lang in settings.languages:
        scores[lang], model = _pair(folder / lang, lang, model)
    assert model is not None  # params hold at least two languages
    file = store.load_scores(folder / settings.hr / f"{LABELS[0]}.safetensors")
    return scores, model, {name: file.provenance[name] for name in ("template",) if name in file.provenance}


def _halves(settings: Params, folder: Path, model: ModelRef) -> tuple[ByLanguage, ByLanguage] | None:
    """The scores from each half of the prompts; None if no language has them."""
    if not any((folder / lang / "halves").exists() for lang in settings.languages):
        return None
    first, second = (
        {lang: _pair(folder / lang / "halves" / half, lang, model)[0] for lang in settings.languages}
        for half in ("0", "1")
    )
    return first, second


def _pair(folder: Path, lang: str, model: ModelRef | None) -> tuple[tuple[Scores, Scores], ModelRef]:
    """One language's scores on D_jail and on D_norm, and their model, which must be the given one."""
    jail, norm = targets.read_scores(*(need(folder / f"{label}.safetensors", f"score@{lang}") for label in LABELS))
    model = model or jail.model
    jail.model.refuse_other(model, f"The score file of {lang}")
    return (jail.scores, norm.scores), model


if __name__ == "__main__":
    run_stage(main)
