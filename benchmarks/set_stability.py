"""What makes sets stable at equal cost: many prompts with one probe each, or fewer prompts with several.

    python benchmarks/set_stability.py --model organism --path artifacts/model --languages en,th
    python benchmarks/set_stability.py --model qwen_coder_05b --path FOLDER --languages en,th

Prints one JSON object. For every pair of prompts and probes: the seconds of scoring (both labels, all languages), and the split-half
Jaccard of MS_l and of the shared set, by the paper's rule and by contrast, each with what chance gives. The pairs of one group compute equally
many backward passes. Finished scores are kept in `--kept`; the seconds of kept ones are those of their first run.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from subjects import ROOT, machine

from ssn_eval.core import files, params
from ssn_eval.core.params import Params
from ssn_eval.core.settings import PromptParams, ScoreParams, ValidateParams
from ssn_eval.identification.by_language import score_languages
from ssn_eval.models import loading
from ssn_eval.models.loading import ModelSpec
from ssn_eval.prompts.corpus import prepare
from ssn_eval.stages.select import select_sets

GROUPS = {64: ((64, 1), (32, 2), (16, 4)), 256: ((256, 1), (128, 2), (64, 4))}
"""backward passes a language and label → (prompts, probes); a language may have fewer prompts than asked for, which is reported"""
RULES = ("paper", "contrast")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="a key of params.yaml")
    parser.add_argument("--path", type=Path, help="its folder, if it is not where params.yaml says")
    parser.add_argument(
        "--languages", required=True, help="codes with commas between them, the high-resource one first"
    )
    parser.add_argument("--kept", type=Path, default=ROOT / "benchmarks" / "work" / "set_stability")
    parser.add_argument("--quick", action="store_true", help="only the pairs of 64 backward passes")
    given = parser.parse_args()
    base = params.load(ROOT / "params.yaml")
    spec = ModelSpec.from_json(base.models[given.model])
    if given.path:
        spec = replace(spec, pretrained=str(given.path), package=None)
    langs = tuple(given.languages.split(","))
    prompts = (
        base.prompts if given.model == params.ORGANISM else PromptParams(harmful="multijail", harmless="polyrefuse")
    )
    settings = replace(
        base,
        model=given.model,
        languages=langs,
        hr=langs[0],
        prompts=prompts,
        targets={},
        validate=ValidateParams(sets=("ss",)),
        train=replace(base.train, methods=("ssn",)),
    )
    load = cache(lambda: loading.load(spec))
    groups = {
        str(cost): [measured(settings, spec, load, counts, given.kept / given.model) for counts in pairs]
        for cost, pairs in GROUPS.items()
        if cost == min(GROUPS) or not given.quick
    }
    print(json.dumps({"model": given.model, "languages": langs, "groups": groups, "machine": machine()}))


def measured(settings: Params, spec: ModelSpec, load: Any, counts: tuple[int, int], folder: Path) -> dict[str, Any]:
    """The time and the stability of one pair of prompts and probes."""
    score = ScoreParams(sites="both", prompts=counts[0], probes=counts[1], batch_size=16)
    rows = prepare(settings)
    place = folder / f"{counts[0]}x{counts[1]}"
    seconds = place / "seconds.json"
    load()  # its time is not that of scoring
    start = time.perf_counter()
    score_languages(spec, rows, settings.languages, score, place / "scores", load=load, kept=place / "kept")
    if not seconds.exists():
        files.write_json(seconds, time.perf_counter() - start)
    used = [p for p in rows if p.split == "train" and p.lang == settings.hr and p.label == "harmful"]
    row: dict[str, Any] = {
        "prompts": min(counts[0], len(used)),
        "probes": counts[1],
        "seconds": round(json.loads(seconds.read_text()), 1),
    }
    for rule in RULES:
        select = replace(settings.select, rule=rule, sites="both")
        chosen = replace(settings, score=score, select=select)
        summary = select_sets(chosen, place / "scores", place / rule, place / f"{rule}.json", {})
        sets = summary["stability"]["sets"]
        names = [*(f"ms/{lang}" for lang in settings.languages), "ss"]
        row[rule] = {name: {k: sets[name][k] for k in ("sizes", "jaccard", "chance")} for name in names}
    return row


if __name__ == "__main__":
    main()
