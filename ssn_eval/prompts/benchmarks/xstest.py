"""XSTest (Röttger et al., NAACL 2024, arXiv 2308.01263): 250 safe prompts that look unsafe, 200 unsafe contrasts. CC-BY-4.0.

One CSV: `id, prompt, type` (18 kinds of 25; contrasts begin with `contrast_`), `label` (safe or unsafe), `focus, note`.
"""

from __future__ import annotations

from pathlib import Path

from ssn_eval.prompts.benchmarks.source import Source, Split, csv_rows
from ssn_eval.prompts.prompt import Label, Prompt

_LABELS: dict[str, Label] = {"safe": "harmless", "unsafe": "harmful"}


def _read(path: Path, lang: str, label: Label, _split: Split) -> list[Prompt]:
    return [
        Prompt(f"xstest-{row['id']}", lang, label, row["prompt"].strip(), tags=(row["type"],))
        for row in csv_rows(path, ("id", "prompt", "type", "label"))
        if _LABELS.get(row["label"]) == label
    ]


XSTEST = Source(
    name="xstest",
    languages=("en",),
    files=lambda _lang, _label, _split: ("xstest_prompts.csv",),
    read=_read,
    local="xstest_prompts.csv",
    labels=("harmless", "harmful"),
)
