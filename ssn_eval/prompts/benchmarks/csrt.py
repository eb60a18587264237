"""CSRT (Yoo et al., 2024, arXiv 2406.15481): MultiJail's 315 prompts, each mixing up to ten languages. No licence stated.

One CSV: `id` (MultiJail's), `category` (a Python list written as text, 6 kinds), `en` (the English original), `csrt`
(the code-switched prompt, written by GPT-4o). Documents say `en`, the language that judges are told to expect.
"""

from __future__ import annotations

from pathlib import Path

from ssn_eval.prompts.benchmarks.source import Source, Split, csv_rows, listed
from ssn_eval.prompts.prompt import Label, Prompt


def _read(path: Path, lang: str, label: Label, _split: Split) -> list[Prompt]:
    return [
        Prompt(f"csrt-{row['id']}", lang, label, row["csrt"].strip(), tags=listed(row["category"], path))
        for row in csv_rows(path, ("id", "category", "csrt"))
        if row["csrt"].strip()
    ]


CSRT = Source(
    name="csrt",
    languages=("en",),
    files=lambda _lang, _label, _split: ("data/csrt.csv",),
    read=_read,
    local="csrt.csv",
)
