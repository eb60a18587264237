"""Train a real model by one method after another and measure each (docs/decisions/0010).

Run it in the working copy of `make demo-real`, whose stage `select` made the sets of these methods:

    cd real && python ../experiments/real_training.py --methods ssn,random,contrast --borderline FOLDER --out FILE

Every method goes through the pipeline's stage `train`. It is measured on the pipeline's held-out prompts, and in English on XSTest's
safe prompts and on JailbreakBench (`xstest_safe.json` and `jailbreakbench.json` in FOLDER). What is finished is not done again. The result is written after every method; it holds
counts and rates, and no text. The folder `results` gets the pipeline's own files, for `ssn report` and `real_claims.py`.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from real_model import borderline, counted

from ssn_eval.core import files, origin, params
from ssn_eval.core.params import Params
from ssn_eval.harness.bench import Bench
from ssn_eval.models import loading
from ssn_eval.report.condition import Condition
from ssn_eval.report.results import Results, read
from ssn_eval.stages import evaluation
from ssn_eval.stages import train as stage
from ssn_eval.training.adapters.folder import is_checkpoint

PROTOCOL = "docs/decisions/0010-training-a-real-model.md"
RESULTS, ARTIFACTS = Path("results"), Path("artifacts")
MODEL, PROMPTS = ARTIFACTS / "model", ARTIFACTS / "prompts.jsonl"
CONTROLS: Mapping[str, Sequence[str]] = {
    "ssn": ("random", "ss.random_1"),
    "contrast": ("contrast.random_0",),
    "tied": ("tied_random",),
    "complement": ("complement_random",),
    "sft_ablated": ("sft_ablated_random",),
}
"""method → the same training of as many random neurons"""


def trained(settings: Params, method: str) -> Path:
    """The folder of a method's weights, trained now if it is not there."""
    folder, summary = ARTIFACTS / "train" / method, RESULTS / f"train/{method}.json"
    if not summary.is_file():
        start = time.perf_counter()
        stage.main(settings, Path(method), MODEL, ARTIFACTS / "pairs.jsonl", ARTIFACTS / "sets", folder, summary)
        found = files.read_json(summary, "a training summary")
        files.write_json(summary, found | {"seconds": round(time.perf_counter() - start)})
    return folder


def change(before: Condition, after: Condition, langs: Sequence[str]) -> dict[str, float] | None:
    """The change of refusal on the same prompts, languages with equal weights, with its paired interval."""
    found = before.change(after, langs)
    return found and {"difference": round(found.value, 4), "low": round(found.low, 4), "high": round(found.high, 4)}


def compared(run: Results) -> dict[str, Any]:
    """Every method against the base and against its controls, over the languages other than HR, and by language."""
    conditions = dict(run.trained) | {
        f"{method}.without_{lang}": c for method, by_lang in run.left_out.items() for lang, c in by_lang.items()
    }
    return {
        name: {
            "against_base": {
                part: change(run.base, condition, langs)
                for part, langs in {"nhr": run.nhr, **{lang: (lang,) for lang in run.languages}}.items()
            },
            "against_controls": {
                control: change(conditions[control], condition, run.nhr)
                for control in CONTROLS.get(name, ())
                if control in conditions
            },
        }
        for name, condition in conditions.items()
    }


def main() -> None:
    """Train, measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", required=True, help="names of params.yaml with commas between them, in this order")
    parser.add_argument(
        "--borderline", type=Path, required=True, help="the folder of xstest_safe.json and jailbreakbench.json"
    )
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    settings = params.load(Path("params.yaml"))
    heldout = evaluation.bench_of(settings, MODEL, PROMPTS)
    spec = loading.read_spec(MODEL / "spec.json")
    other = Bench(spec, borderline(given.borderline), ["en"], settings.evaluate)
    names = [None, *given.methods.split(",")]
    result: dict[str, Any] = {
        "protocol": PROTOCOL,
        "languages": list(settings.languages),
        "train": settings.train.recorded(),
        "versions": origin.versions(),
        "methods": {},
    }
    for name in names:
        folder = trained(settings, name) if name else None
        if folder and is_checkpoint(folder):
            heldout.drop()
            other.drop()
        found, price = (bench.trained(folder) if folder else bench.unchanged() for bench in (heldout, other))
        files.write_json(RESULTS / f"evaluate/{name or 'base'}.json", {"variant": name or "base", **found["counts"]})
        entry: dict[str, Any] = {
            "heldout": counted(found, None, settings.languages),
            "borderline": counted(price, None, ["en"]),
        }
        if name:
            summary = files.read_json(RESULTS / f"train/{name}.json", "a training summary")
            losses = [point["loss"] for point in summary["loss"]]
            entry |= {key: summary.get(key) for key in ("trainable", "parameters", "seconds")}
            entry |= {"loss": [losses[0], losses[-1]]}
        result["methods"][name or "base"] = entry
        result["compared"] = compared(read(RESULTS))
        files.write_json(given.out, result)
        print(name, {k: round(v, 3) for k, v in entry["heldout"]["rates"].items()}, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
