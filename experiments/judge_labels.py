"""How well the refusal judge reads real models' replies: make replies to label, and compare the judge with the labels.

`make` writes greedy replies of 24 tokens to training prompts (not those of any evaluation) into a private file, with the texts. Someone
reads them and writes one label a row into `judge_labels.json`, by the rule in docs/decisions/0009. `compare` makes a gold file of both
for `ssn calibrate`. The labels are in the repository; the texts are not.
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path

from ssn_eval.core import files
from ssn_eval.core.settings import PromptParams
from ssn_eval.models import loading
from ssn_eval.models.generation import complete
from ssn_eval.models.loading import ModelSpec
from ssn_eval.prompts.corpus import from_sources

LABELS = Path(__file__).parent / "judge_labels.json"
"""`{model: {lang: {prompt id: "refused" | "answered" | "broken" | "unclear"}}}`"""
UNCLEAR = "unclear"
HARMFUL, HARMLESS, TOKENS = 20, 10, 24


def make(key: str, model: str, languages: list[str], out: Path) -> None:
    """Write the rows `model, lang, id, label, prompt, response` of one model, one JSON object a line; `key` is its name in the labels."""
    prompts = from_sources(tuple(languages), PromptParams(harmful="multijail", harmless="polyrefuse", seed=0))
    draw = random.Random(0)
    chosen = []
    for lang in languages:
        for label, count in (("harmful", HARMFUL), ("harmless", HARMLESS)):
            rows = [p for p in prompts if (p.lang, p.label, p.split) == (lang, label, "train")]
            chosen += draw.sample(rows, count)
    loaded = loading.load(ModelSpec(model, dtype="bfloat16"))
    replies = complete(loaded.model, loaded.tokenizer, [p.prompt for p in chosen], max_new_tokens=TOKENS, batch_size=60)
    rows = [
        {
            "model": Path(model).name,
            "lang": p.lang,
            "id": p.id,
            "label": p.label,
            "prompt": p.prompt,
            "response": r.text,
        }
        for p, r in zip(chosen, replies, strict=True)
    ]
    files.write_text(out, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def compare(replies: list[Path], out: Path) -> None:
    """Write the gold file: the rows that have a label, for `ssn calibrate --gold`."""
    labels = json.loads(LABELS.read_text(encoding="utf-8"))
    gold = []
    for line in (line for path in replies for line in path.read_text(encoding="utf-8").splitlines()):
        row = json.loads(line)
        label = labels[row["model"]].get(row["lang"], {}).get(row["id"], UNCLEAR)
        if label != UNCLEAR:
            gold.append(
                {k: row[k] for k in ("model", "lang", "prompt", "response")} | {"refusal": int(label == "refused")}
            )
    files.write_text(out, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in gold))


def main() -> None:
    """Make replies, or the gold file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", help="make replies of this folder or hub id")
    parser.add_argument("--key", help="the model's name in judge_labels.json")
    parser.add_argument("--languages", default="en,zh,it,ko,th")
    parser.add_argument("--replies", type=Path, nargs="*", help="make the gold file of these")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    if given.model:
        make(given.key, given.model, given.languages.split(","), given.out)
    else:
        compare(given.replies, given.out)


if __name__ == "__main__":
    main()
