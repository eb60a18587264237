"""PolyRefuse (Wang et al., NeurIPS 2025, arXiv 2505.17306): harmful and harmless prompts in 14 languages. Apache-2.0.

One file a label, split and language, machine translated from English; a list of `{"instruction", "category"}`, and in
test files also `instruction_translated`, with the English prompt in `instruction`. Harmful prompts are evaluated on
`test` (572), harmless ones on `val` (200), the split that every language has. A `polyrefuse.jsonl` without harmful
`test` prompts gives its `val` prompts. `train` is never evaluated: the pipeline trains on it.

Files of a language are parallel by position, but for one that is not: the Chinese harmless prompts are others than the
English ones (measured: of 27 English `val` prompts with a number, none has its number in Chinese; in de es fr ko th, 22
to 27 have). So they get ids of their own.
"""

from __future__ import annotations

from pathlib import Path

from ssn_eval import prompts
from ssn_eval.harness.sources.source import Source
from ssn_eval.prompts import Label, Prompt

LANGUAGES = ("en", "zh", "it", "de", "es", "fr", "ja", "nl", "pl", "ru", "ar", "ko", "th", "yo")
SPLITS: dict[Label, tuple[str, ...]] = {"harmful": ("test", "val"), "harmless": ("val",)}


def _files(lang: str, label: Label) -> tuple[str, ...]:
    split = SPLITS[label][0]
    translated = f"PolyRefuse/{label}_{split}_translated_{lang}.json"
    if (lang, label) == ("en", "harmless"):  # the English originals of train and val lie elsewhere
        return (f"dataset/splits/{label}_{split}_200_sampled.json", f"{label}_{split}.json", translated)
    return (translated, f"{label}_{split}.json") if lang == "en" else (translated,)


def _read(path: Path, lang: str, label: Label) -> list[Prompt]:
    return prompts.polyrefuse_file(path, label, SPLITS[label][0], lang)


def _choose(found: list[Prompt]) -> list[Prompt]:
    """The first of the label's splits that any language has; all prompts where none names a split."""
    have = {p.split for p in found}
    if have == {None} or not found:
        return found
    split = next((s for s in SPLITS[found[0].label] if s in have), None)
    return [p for p in found if split is not None and p.split == split]


POLYREFUSE = Source(
    name="polyrefuse",
    languages=LANGUAGES,
    host="github",
    repo="mainlp/Multilingual-Refusal",
    revision="985169df2a0b1ba56a95c65d5f60e228f12be4a1",
    files=_files,
    read=_read,
    local="PolyRefuse",
    labels=("harmful", "harmless"),
    alone=lambda lang, label: (lang, label) == ("zh", "harmless"),
    choose=_choose,
    pull="dvc pull data/PolyRefuse.dvc",
)
