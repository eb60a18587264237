"""The embedded refusal judge against gold labels: agreement by language, and judged replies per second on one core.

`python benchmarks/refusal_judge.py [--quick] [--gold FILE]` prints one JSON object. The gold file has JSON lines (or is a .gz)
as for `ssn calibrate`. The default file is the judged responses beside the project, which are not distributed with it; without
them the object is {"skipped": reason}. `half_a` and `half_b` split the prompts by hash. The authors of the rules looked at the
errors in half A (for version 2 also at Korean errors in a quarter of half B); of half B they saw the figures only. Speed is
CPU time. `degradation` removes kinds of phrases from one language at a time. The phrases of English and Chinese, which the judge
also uses for other languages, are not removed with them. The remaining agreement shows what to expect for a language with few phrases.
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

REMOVED_KINDS = {
    "nothing": (),
    "decline": ("decline",),
    "soft, hint": ("soft", "hint"),
    "comply, agree": ("comply", "agree"),
    "all": KINDS,
}
"""name → the kinds of phrases that are removed"""
_NEVER = re.compile("(?!)")


def half(row: GoldRow) -> str:
    """The half that a prompt belongs to, `"a"` or `"b"`."""
    return "ab"[hashlib.sha256(row.exchange.prompt.encode()).digest()[0] % 2]


def degradation(rows: Sequence[GoldRow]) -> dict[str, dict[str, dict[str, float | None]]]:
    """Language → removed kinds → kappa, recall, and F1 of the answers, over that language's rows."""

    def agreement(lang: str, kinds: Sequence[str]) -> dict[str, float | None]:
        def reduced_rules(code: str) -> Rules:
            rules = load_rules(code)
            return replace(rules, **dict.fromkeys(kinds, _NEVER)) if code == lang else rules

        lang_rows = [row for row in rows if row.exchange.lang == lang]
        judge = RefusalJudge(reduced_rules)
        overall = calibrate(lang_rows, judge.judge([row.exchange for row in lang_rows]), judge=judge.name).overall
        return {"kappa": overall.kappa, "recall": overall.recall, "f1_negative": overall.f1_negative}

    langs = sorted({row.exchange.lang for row in rows})
    return {lang: {name: agreement(lang, kinds) for name, kinds in REMOVED_KINDS.items()} for lang in langs}


def measure(gold: Path, repetitions: int) -> dict[str, object]:
    """Judge every row and compare the verdicts with the gold labels."""
    rows = read_gold(gold)
    judge = get_judge("refusal")
    exchanges = [row.exchange for row in rows]
    verdicts = judge.judge(exchanges)  # compiles the rules, which is not timed
    seconds = []
    for _ in range(repetitions):
        started = time.process_time()
        judge.judge(exchanges)
        seconds.append(time.process_time() - started)

    def compare(name: str | None) -> dict[str, object]:
        pairs: list[tuple[GoldRow, Verdict]] = [
            pair for pair in zip(rows, verdicts, strict=True) if name is None or half(pair[0]) == name
        ]
        return calibrate([r for r, _ in pairs], [v for _, v in pairs], judge=judge.name).to_json()

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
        result = measure(args.gold, 1 if args.quick else 10)
    else:
        result = {"skipped": f"no gold file {args.gold.name}; name one with --gold"}
    print(json.dumps(result, ensure_ascii=False, allow_nan=False))


if __name__ == "__main__":
    main()
