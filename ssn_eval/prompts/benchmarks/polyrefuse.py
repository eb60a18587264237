"""PolyRefuse (Wang et al., NeurIPS 2025, arXiv 2505.17306): harmful and harmless prompts in 14 languages. Apache-2.0.

One file a label, split and language, machine translated from English; a list of `{"instruction", "category"}`, and in
test files also `instruction_translated`, with the English prompt in `instruction`. Harmful prompts are evaluated on
`test` (572), harmless ones on `val` (200), the split that every language has. A `polyrefuse.jsonl` without harmful
`test` prompts gives its `val` prompts. `train` is never evaluated: the pipeline trains on it.

Files of a language are parallel by position. One language is not: the Chinese harmless prompts are others than the
English ones (measured: of 27 English `val` prompts with a number, none has its number in Chinese; in de es fr ko th, 22
to 27 have). So the Chinese harmless prompts get ids of their own.
"""

from __future__ import annotations

from pathlib import Path

from ssn_eval.core import files
from ssn_eval.core.errors import FormatError
from ssn_eval.prompts.benchmarks.source import Source, Split
from ssn_eval.prompts.prompt import Label, Prompt

LANGUAGES = ("en", "zh", "it", "de", "es", "fr", "ja", "nl", "pl", "ru", "ar", "ko", "th", "yo")


def _files(lang: str, label: Label, split: Split) -> tuple[str, ...]:
    translated = f"PolyRefuse/{label}_{split}_translated_{lang}.json"
    if lang != "en" or (label, split) == ("harmful", "test"):
        return (translated, f"{label}_{split}.json") if lang == "en" else (translated,)
    sampled = "_200_sampled" if label == "harmless" else ""  # the English originals lie elsewhere in the repository
    return (f"dataset/splits/{label}_{split}{sampled}.json", f"{label}_{split}.json", translated)


def _read(path: Path, lang: str, label: Label, split: Split) -> list[Prompt]:
    """In test files `instruction` is the English prompt, and `instruction_translated` is the prompt. Categories become tags."""
    try:
        rows = [
            (row.get("instruction_translated") or row["instruction"], row.get("category"))
            for row in files.read_json(path, "a PolyRefuse file")
        ]
    except (KeyError, TypeError, AttributeError) as error:
        raise FormatError(
            f"{path} is not a PolyRefuse file (a list of objects with `instruction`): {error!r}."
        ) from error
    return [
        Prompt(f"{label}-{split}-{i}", lang, label, str(text), split, (str(category),) if category else ())
        for i, (text, category) in enumerate(rows)
    ]


POLYREFUSE = Source(
    name="polyrefuse",
    languages=LANGUAGES,
    files=_files,
    read=_read,
    local="PolyRefuse",
    labels=("harmful", "harmless"),
    evaluated={"harmful": ("test", "val"), "harmless": ("val",)},
    splits={
        "harmful": ("test", "train", "val"),
        "harmless": ("train", "val"),
    },  # not every language has harmless test files
    alone=lambda lang, label: (lang, label) == ("zh", "harmless"),
)
