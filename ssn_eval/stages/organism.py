"""Stage 1: train the model organism, or, for a real model, only record which one. OUT SUMMARY."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from ssn_eval.core import files
from ssn_eval.core.languages import HIGH_RESOURCE
from ssn_eval.core.params import ORGANISM, Params, build
from ssn_eval.models import loading
from ssn_eval.models.loading import ModelSpec
from ssn_eval.stages.common import run_stage
from ssn_eval.stages.story import percent


def main(settings: Params, out: Path, summary: Path) -> str:
    """Write `out/spec.json`, for the organism also its weights and its behaviour before any change; return what it did."""
    spec = ModelSpec.from_json(settings.models[settings.model])
    behaviour = None
    if settings.model == ORGANISM:
        spec = ModelSpec(pretrained=(out / "weights").as_posix(), dtype=spec.dtype)
        behaviour = _organism(settings.organism or {}, out)
    else:
        loading.locate(spec)
    files.write_json(out / "spec.json", spec.to_json())
    files.write_json(summary, {"model": settings.model, "behaviour": behaviour})
    if behaviour is None:
        return f"the model is {files.portable(spec.name)}"
    refusals = {lang: one["refusal"] for lang, one in behaviour["by_lang"].items()}
    weakest = min(refusals, key=lambda lang: refusals[lang])
    return (
        f"trained the embedded model, which refuses {percent(refusals[HIGH_RESOURCE])} of harmful questions in "
        f"{HIGH_RESOURCE} and {percent(refusals[weakest])} in {weakest}"
    )


def _organism(section: dict[str, Any], out: Path) -> dict[str, Any]:
    from ssn_eval.models.generation import generate
    from ssn_eval.organism.behaviour import MAX_NEW_TOKENS, measure
    from ssn_eval.organism.lexicon import load
    from ssn_eval.organism.settings import OrganismSettings
    from ssn_eval.organism.training import train

    recipe, lexicon = build(OrganismSettings, section, "params.yaml section organism"), load()
    weights = train(lexicon, recipe, out / "weights", out.parent / ".work-organism")
    loaded = loading.load(ModelSpec(pretrained=str(weights), dtype="float32"), device="cpu")
    respond = partial(generate, loaded.model, loaded.tokenizer, max_new_tokens=MAX_NEW_TOKENS)
    return measure(lexicon, recipe.covered_nouns, respond).to_json()


if __name__ == "__main__":
    run_stage(main)
