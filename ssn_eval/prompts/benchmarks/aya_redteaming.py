"""Aya red-teaming (Aakanksha et al., 2024, arXiv 2406.18682): 7,419 prompts written by people in eight languages. Apache-2.0.

One JSONL file a language, `aya_<ISO 639-3>.jsonl`: `prompt, language, harm_category` (a list written as text),
`global_or_local`, and English translations, which are not used. Every language has prompts of its own: not parallel.
"""

from __future__ import annotations

from pathlib import Path

from ssn_eval.prompts.benchmarks.source import Source, Split, json_lines, listed
from ssn_eval.prompts.prompt import Label, Prompt

CODES = {"en": "eng", "es": "spa", "fr": "fra", "ru": "rus", "ar": "arb", "hi": "hin", "sr": "srp", "tl": "tgl"}
LANGUAGES = tuple(CODES)


def _read(path: Path, lang: str, label: Label, _split: Split) -> list[Prompt]:
    rows = json_lines(path, ("prompt", "harm_category", "global_or_local"))
    return [
        Prompt(f"aya-{i}", lang, label, text, tags=(*listed(row["harm_category"], path), *filter(None, [_scope(row)])))
        for i, row in enumerate(rows)
        if (text := str(row["prompt"] or "").strip())
    ]


def _scope(row: object) -> str:
    return str(row["global_or_local"] or "").strip().lower()  # type: ignore[index]


AYA_REDTEAMING = Source(
    name="aya_redteaming",
    languages=LANGUAGES,
    files=lambda lang, _label, _split: (f"aya_{CODES[lang]}.jsonl",),
    read=_read,
    local="aya_redteaming",
    parallel=False,
    alone=lambda _lang, _label: True,
)
