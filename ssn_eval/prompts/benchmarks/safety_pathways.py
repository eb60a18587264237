"""Parallel refusals in ten languages (arXiv 2608.09095), to train on: no benchmark, and no task evaluates it.

One JSONL file a language, `data/train_data/<language>/final_safe.jsonl`, of `{"instruction", "response"}`: a harmful request
and a safe refusal. The English requests come from Aegis 2.0 (CC-BY-4.0) and JailbreakBench (MIT), so a model trained on
them is contaminated for `jbb_harmful` and for PolyRefuse, whose sources include JailbreakBench. The other languages are
line-aligned machine translations; a line whose translation failed stays English. Chinese is `zh-CN` there.
"""

from __future__ import annotations

from pathlib import Path

from ssn_eval.prompts.benchmarks.source import Source, Split, json_lines
from ssn_eval.prompts.prompt import Label, Prompt

LANGUAGES = ("en", "zh", "it", "ko", "th", "hu", "bn", "sw", "af", "ne")
_CODES = {"zh": "zh-CN"}


def _files(lang: str, _label: Label, _split: Split) -> tuple[str, ...]:
    return (f"data/train_data/{_CODES.get(lang, lang)}/final_safe.jsonl",)


def _read(path: Path, lang: str, label: Label, _split: Split) -> list[Prompt]:
    rows = json_lines(path, ("instruction", "response"))
    return [
        Prompt(f"pathways-{i}", lang, label, text, response=response)
        for i, row in enumerate(rows)
        if (text := str(row["instruction"] or "").strip()) and (response := str(row["response"] or "").strip())
    ]


SAFETY_PATHWAYS = Source(
    name="safety_pathways",
    languages=LANGUAGES,
    files=_files,
    read=_read,
    local="safety_pathways",
    parallel=False,  # a line without text is left out
    is_training=True,
    local_file=lambda path: f"{Path(path).parent.name}.jsonl",
)
