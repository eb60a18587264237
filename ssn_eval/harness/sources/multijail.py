"""MultiJail (Deng et al., ICLR 2024, arXiv 2310.06474): 315 harmful prompts in ten languages, human translations. MIT.

One CSV: `id, source, tags`, then one column a language; `tags` is a Python list written as text, 18 harm categories.
"""

from __future__ import annotations

from pathlib import Path

from ssn_eval import prompts
from ssn_eval.harness.sources.source import Source
from ssn_eval.prompts import MULTIJAIL_LANGUAGES, Label, Prompt


def _read(path: Path, lang: str, _label: Label) -> list[Prompt]:
    return prompts.multijail(path, lang)


MULTIJAIL = Source(
    name="multijail",
    languages=MULTIJAIL_LANGUAGES,
    host="hub",
    repo="DAMO-NLP-SG/MultiJail",
    revision="93d65c778925d55973b9ff30c7bccc8545494eb6",
    files=lambda _lang, _label: ("MultiJail.csv",),
    read=_read,
    local="MultiJail.csv",
    pull="dvc pull data/MultiJail.csv.dvc",
)
