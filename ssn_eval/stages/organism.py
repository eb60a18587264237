"""Stage 1: train the model organism, or, for a real model, only say which one. LEXICON OUT."""

from __future__ import annotations

from pathlib import Path

from ssn_eval import files, models
from ssn_eval.models import ModelSpec
from ssn_eval.params import ORGANISM, Params, build
from ssn_eval.stages.common import need, run


def main(settings: Params, lexicon_folder: Path, out: Path) -> None:
    """Write `out/spec.json`, and for the organism its weights beside it."""
    spec = ModelSpec.from_json(settings.models[settings.model])
    if settings.model == ORGANISM:
        from ssn_eval.organism.lexicon import load
        from ssn_eval.organism.settings import OrganismSettings
        from ssn_eval.organism.training import train

        recipe = build(OrganismSettings, settings.organism or {}, "params.yaml section organism")
        train(load(need(lexicon_folder, "data/organism")), recipe, out / "weights", out.parent / ".work-organism")
        spec = ModelSpec(pretrained=(out / "weights").as_posix(), dtype=spec.dtype)
    else:
        models.locate(spec)
    files.write_json(out / "spec.json", spec.to_json())


if __name__ == "__main__":
    run(main)
