"""MultiJail (Deng et al., ICLR 2024, arXiv 2310.06474): 315 harmful prompts in ten languages, human translations. MIT.

One CSV: `id, source, tags`, then one column a language; `tags` is a Python list written as text, 18 harm categories.
"""

from __future__ import annotations

from pathlib import Path

from ssn_eval.core.errors import UnknownNameError
from ssn_eval.prompts.benchmarks.source import Source, Split, csv_rows, listed
from ssn_eval.prompts.prompt import Label, Prompt

LANGUAGES = ("en", "zh", "it", "vi", "ar", "ko", "th", "bn", "sw", "jv")

FORM = "MultiJail's CSV (of a table of your own, `ssn data add` makes a prompt file)"


def _read(path: Path, lang: str, label: Label, _split: Split) -> list[Prompt]:
    rows = csv_rows(path, ("id", "tags", "en"), FORM)
    if lang not in rows[0]:
        raise UnknownNameError("MultiJail language", lang, [code for code in LANGUAGES if code in rows[0]])
    return [
        Prompt(f"multijail-{row['id']}", lang, label, row[lang].strip(), tags=listed(row["tags"], path)) for row in rows
    ]


MULTIJAIL = Source(
    name="multijail",
    languages=LANGUAGES,
    files=lambda _lang, _label, _split: ("data/MultiJail.csv",),
    read=_read,
    local="MultiJail.csv",
)
