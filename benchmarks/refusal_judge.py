"""The embedded refusal judge against gold labels: agreement by language, and replies judged a second on one core.

`python benchmarks/refusal_judge.py [--quick] [--gold FILE]` prints one JSON object. The gold file is JSON lines (or .gz)
as for `ssn calibrate`; the default is the judged responses beside the project, which are not distributed with it: without
them the object is {"skipped": reason}. `half_a` and `half_b` split the prompts by hash: the rules were written looking
at errors in half A (version 2 also, for Korean, in a quarter taken from half B), and at figures only in half B. Speed is
CPU time. `degradation` takes kinds of phrases away from one language at a time (English and Chinese keep theirs as the
languages that models fall back to): what the rest still carries tells how a language fares whose phrases are few.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ssn_eval.judges.calibration import GoldRow, calibrate, read_gold
from ssn_eval.judges.refusal import RefusalJudge
from ssn_eval.judges.registry import get_judge
from ssn_eval.judges.rules import KINDS, Rules, load_rules
from ssn_eval.judges.verdict import Verdict

GOLD = Path(__file__).resolve().parents[2] / "shared" / "data" / "judged_responses.jsonl.gz"


TAKEN = {
    "nothing": (),
    "decline": ("decline",),
    "soft, hint": ("soft", "hint"),
    "comply, agree": ("comply", "agree"),
    "all": KINDS,
}
"""Which kinds of phrases are taken away."""
_NEVER = re.compile("(?!)")


def half(row: GoldRow) -> str:
    """The half that a prompt belongs to, `"a"` or `"b"`."""
    return "ab"[hashlib.sha256(row.exchange.prompt.encode()).digest()[0] % 2]


def degradation(rows: Sequence[GoldRow]) -> dict[str, dict[str, dict[str, float | None]]]:
    """Language → kinds taken away → kappa, recall, and F1 of the answers, over that language's rows."""

    def one(lang: str, kinds: Sequence[str]) -> dict[str, float | None]:
        def poorer(code: str) -> Rules:
            found = load_rules(code)
            return replace(found, **dict.fromkeys(kinds, _NEVER)) if code == lang else found

        mine = [row for row in rows if row.exchange.lang == lang]
        judge = RefusalJudge(poorer)
        found = calibrate(mine, judge.judge([row.exchange for row in mine]), judge=judge.name).overall
        return {"kappa": found.kappa, "recall": found.recall, "f1_negative": found.f1_negative}

    langs = sorted({row.exchange.lang for row in rows})
    return {lang: {taken: one(lang, kinds) for taken, kinds in TAKEN.items()} for lang in langs}


def measure(gold: Path, repetitions: int) -> dict[str, object]:
    """Judge every row and compare."""
    rows = read_gold(gold)
    judge = get_judge("refusal")
    exchanges = [row.exchange for row in rows]
    verdicts = judge.judge(exchanges)  # the rules are compiled here, outside the clock
    seconds = []
    for _ in range(repetitions):
        started = time.process_time()
        judge.judge(exchanges)
        seconds.append(time.process_time() - started)

    def compare(name: str | None) -> dict[str, object]:
        chosen: list[tuple[GoldRow, Verdict]] = [
            pair for pair in zip(rows, verdicts, strict=True) if name is None or half(pair[0]) == name
        ]
        return calibrate([r for r, _ in chosen], [v for _, v in chosen], judge=judge.name).to_json()

    return {
        "judge": judge.identity(),
        "gold_sha256": hashlib.sha256(gold.read_bytes()).hexdigest(),
        "responses_per_second": round(len(rows) / min(seconds)),
        "invalid": sum(verdict.invalid for verdict in verdicts),
        "all": compare(None),
        "half_a": compare("a"),
        "half_b": compare("b"),
        "degradation": degradation(rows),
    }


def main() -> None:
    """Parse the arguments and print the object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="time one pass instead of the best of ten")
    parser.add_argument("--gold", type=Path, default=GOLD, help="gold file, JSON lines or .gz")
    args = parser.parse_args()
    if args.gold.is_file():
        found = measure(args.gold, 1 if args.quick else 10)
    else:
        found = {"skipped": f"there is no gold file at {args.gold.name}; name one with --gold"}
    print(json.dumps(found, ensure_ascii=False, allow_nan=False))


if __name__ == "__main__":
    main()
