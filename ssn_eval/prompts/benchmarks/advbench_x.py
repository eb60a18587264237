"""AdvBench-x: the 520 harmful instructions of AdvBench (Zou et al., 2023) in twelve languages. MIT, as AdvBench.

One file a language, `{"safety": [text, …]}`, parallel by position. Japanese is `jp` there. Its authors
(arXiv 2608.09095) translated af, hu, ja and ne by machine; how the other translations were made they do not say.
"""

from __future__ import annotations

from pathlib import Path

from ssn_eval.core.errors import FormatError
from ssn_eval.prompts.benchmarks.source import Source, Split, json_value
from ssn_eval.prompts.prompt import Label, Prompt

LANGUAGES = ("en", "zh", "it", "ja", "ar", "ko", "th", "hu", "bn", "sw", "af", "ne")
_CODES = {"ja": "jp"}


def _files(lang: str, _label: Label, _split: Split) -> tuple[str, ...]:
    return (f"data/eval/advbench_x_json/{_CODES.get(lang, lang)}.json", f"{lang}.json")


def _read(path: Path, lang: str, label: Label, _split: Split) -> list[Prompt]:
    data = json_value(path)
    texts = data.get("safety") if isinstance(data, dict) else None
    if not isinstance(texts, list) or not all(isinstance(t, str) for t in texts):
        raise FormatError(f"{path} is not an AdvBench-x file; expected an object with a list of texts named safety.")
    return [Prompt(f"advbench-{i}", lang, label, text.strip()) for i, text in enumerate(texts) if text.strip()]


ADVBENCH_X = Source(
    name="advbench_x",
    languages=LANGUAGES,
    files=_files,
    read=_read,
    local="advbench_x_json",
)
