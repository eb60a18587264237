"""From a model to its neuron sets in one go: prompts, scores of every language, sets, and the table of overlaps and stability."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ssn_eval.core.params import Params
from ssn_eval.core.presets import PRESETS
from ssn_eval.core.settings import PromptParams, ScoreParams, SelectParams
from ssn_eval.identification.by_language import score_languages
from ssn_eval.models.loading import Loaded, ModelSpec
from ssn_eval.prompts.corpus import from_sources
from ssn_eval.stages.select import select_sets

KEY = "model"
"""the name of the model in the settings that are built here"""
TARGETS = {name: PRESETS[name] for name in ("ss", "ms_hr", "private", "contrast")}
"""the presets that are made, beside the sets of single languages and the random controls"""
SCORES, SUMMARY = "scores", "summary.json"


def find(
    spec: ModelSpec,
    languages: Sequence[str],
    hr: str,
    prompts: PromptParams,
    score: ScoreParams,
    select: SelectParams,
    out: Path,
    *,
    load: Callable[[], Loaded] | None = None,
    say: Callable[[str], None] = lambda _line: None,
) -> dict[str, Any]:
    """Write every set of a model under `out`, with the scores in `out/scores` and the summary in `out/summary.json`.

    Args:
        spec: the model.
        languages: codes, the high-resource one among them.
        hr: the high-resource language.
        prompts: the sources and their split; neurons are found on the training part.
        score: the scorer.
        select: the rule and its size.
        out: a folder; a killed run resumes there.
        load: how the model is loaded; it is loaded once, if a language is not finished yet.
        say: is given lines about memory and prompts.

    Returns:
        The summary, as `identification.summary.summarize` makes it.

    Raises:
        SsnError: as `Params`, `from_sources`, `score_languages` and the stage `select`.
    """
    settings = Params(
        model=KEY,
        models={KEY: spec.to_json()},
        hr=hr,
        languages=tuple(languages),
        prompts=prompts,
        score=score,
        select=select,
        targets=dict(TARGETS),
    )
    rows = from_sources(settings.languages, settings.prompts)
    score_languages(spec, rows, settings.languages, score, out / SCORES, load=load, kept=out / ".kept", say=say)
    used = {"prompts": {k: v for k, v in asdict(prompts).items() if k != "replay_tokens"}}
    return select_sets(settings, out / SCORES, out / "sets", out / SUMMARY, used)
