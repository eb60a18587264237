"""The time that judging adds to a run: 3,150 replies through the task class, with the refusal judge and reply languages.

`python benchmarks/judging_overhead.py [--quick] [--gold FILE]` prints one JSON object. It compares lm_eval's own filter step with
ours (filter, judge, reply language, one JSON text per document) on the same instances, a task like multijail with real replies.
Times are CPU seconds, the best of five. Without the judged responses beside the project, the object is {"skipped": reason}.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lm_eval.api.task import ConfigurableTask

from ssn_eval.harness.task import JudgedTask
from ssn_eval.judges.calibration import GoldRow, read_gold

GOLD = Path(__file__).resolve().parents[2] / "shared" / "data" / "judged_responses.jsonl.gz"
REPEATS = 5


def task_of(kind: Callable[..., Any], rows: list[GoldRow]) -> Any:
    """A task of class `kind` whose documents are the prompts, and whose instances already hold the replies."""
    from datasets import Dataset, DatasetDict

    docs = [{"id": str(i), "lang": r.exchange.lang, "prompt": r.exchange.prompt} for i, r in enumerate(rows)]
    config = {
        "task": "judging_overhead",
        "custom_dataset": lambda **_: DatasetDict({"test": Dataset.from_list(docs)}),
        "test_split": "test",
        "output_type": "generate_until",
        "doc_to_text": "prompt",
        "doc_to_target": "",
        "generation_kwargs": {"until": [], "max_gen_toks": 8, "do_sample": False},
        "metric_list": [{"metric": "unscored_rate", "aggregation": "mean", "higher_is_better": False}],
        "process_results": lambda _doc, _results: {"unscored_rate": 0},
        "metadata": {"version": 1.0, "judge": "refusal"},
    }
    task = kind(config=config)
    task.build_all_requests()
    for instance, row in zip(task.instances, rows, strict=True):
        instance.resps = [row.exchange.response]
    return task


def main() -> None:
    """Parse the arguments and print the object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gold", type=Path, default=GOLD)
    parser.add_argument("--quick", action="store_true", help="time one pass instead of the best of five")
    args = parser.parse_args()
    if not args.gold.is_file():
        print(json.dumps({"skipped": f"no gold file {args.gold.name}; name one with --gold"}))
        return
    rows = read_gold(args.gold)
    sides = {"lm_eval": task_of(ConfigurableTask, rows), "ssn_eval": task_of(JudgedTask, rows)}
    sides["ssn_eval"].apply_filters()  # loads the rules and the language identifier, which is not timed
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(1 if args.quick else REPEATS):
        for name, task in sides.items():
            started = time.process_time()
            task.apply_filters()
            seconds[name].append(time.process_time() - started)
    best = {name: round(min(times), 4) for name, times in seconds.items()}
    print(
        json.dumps(
            {"replies": len(rows), "cpu_seconds": best, "added_seconds": round(best["ssn_eval"] - best["lm_eval"], 4)}
        )
    )


if __name__ == "__main__":
    main()
