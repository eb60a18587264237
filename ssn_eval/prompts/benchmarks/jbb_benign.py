"""JailbreakBench, the benign half (Chao et al., NeurIPS 2024, arXiv 2404.01318): 100 harmless behaviours. MIT.

Each belongs to a harmful behaviour of the same topic (`jbb_harmful`). One CSV: `Index, Goal` (the prompt), `Target,
Behavior, Category, Source`.
"""

from __future__ import annotations

from pathlib import Path

from ssn_eval.prompts.benchmarks.source import Source, Split, csv_rows
from ssn_eval.prompts.prompt import Label, Prompt


def _read(path: Path, lang: str, label: Label, _split: Split) -> list[Prompt]:
    return [
        Prompt(f"jbb_benign-{i}", lang, label, row["Goal"].strip(), tags=tuple(filter(None, (row["Category"],))))
        for i, row in enumerate(csv_rows(path, ("Goal", "Category"), "JailbreakBench's CSV of benign behaviours"))
    ]


JBB_BENIGN = Source(
    name="jbb_benign",
    languages=("en",),
    files=lambda _lang, _label, _split: ("data/benign-behaviors.csv",),
    read=_read,
    local="benign-behaviors.csv",
    labels=("harmless",),
)
