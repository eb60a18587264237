"""XSafety (Wang et al., Findings of ACL 2024, arXiv 2310.00905): 14 scenarios × 200 prompts in ten languages.

One parquet file of `text, language, category`. Spanish is `sp` there, and some categories end in `_n` or `_en`. The
scenario `commonsense` is multiple choice and is left out, so 13 × 200 remain. The prompts have no ids: within a category
they are numbered in file order, as the source's own files are, and a prompt without text leaves its number unused.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from ssn_eval.core.errors import FormatError
from ssn_eval.prompts.benchmarks.source import Source, Split
from ssn_eval.prompts.prompt import Label, Prompt

LANGUAGES = ("en", "zh", "de", "es", "fr", "ja", "ru", "ar", "hi", "bn")
LEFT_OUT = ("commonsense", "commen_sense")
_CODES = {"es": "sp"}
_SUFFIX = re.compile(r"_(n|en)$")


def _read(path: Path, lang: str, label: Label, _split: Split) -> list[Prompt]:
    import pyarrow
    from pyarrow import parquet

    code, parsed_rows, numbers = _CODES.get(lang, lang), [], Counter[str]()
    try:
        rows = parquet.read_table(path, columns=["text", "language", "category"]).to_pylist()
    except (pyarrow.ArrowException, KeyError, OSError) as error:
        raise FormatError(f"{path} is not XSafety's parquet file of text, language and category: {error}.") from error
    for row in rows:
        category = _SUFFIX.sub("", str(row["category"]))
        if row["language"] != code or category.lower() in LEFT_OUT:
            continue
        number, text = numbers[category], (row["text"] or "").strip()
        numbers[category] += 1
        if text:
            tag = category.replace("_", " ")
            parsed_rows.append(Prompt(f"xsafety-{category}-{number}", lang, label, text, tags=(tag,)))
    return parsed_rows


XSAFETY = Source(
    name="xsafety",
    languages=LANGUAGES,
    files=lambda _lang, _label, _split: ("data/test-00000-of-00001.parquet",),
    read=_read,
    local="xsafety.parquet",
    parallel=False,  # gaps are the source's own
)
