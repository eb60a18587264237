"""LinguaSafe (Ning et al., 2025, arXiv 2508.12733): about 45,000 prompts in twelve languages, in four levels of severity.

One parquet file of `id, lang, prompt, type, subtype, level, source, specific`. Levels 1 to 3 are harmful; level 0 is
harmless, for over-refusal. Prompts are translated, transcreated or native. A native one (`specific`) translates no other, so
its id ends in its language. An id that comes again in a language gets a number. Serbian is written in Cyrillic. The
licence of the data is not stated; its code is MIT.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from ssn_eval.core.errors import FormatError
from ssn_eval.prompts.benchmarks.source import Source, Split
from ssn_eval.prompts.prompt import Label, Prompt

LANGUAGES = ("en", "zh", "ar", "ru", "sr", "th", "ko", "vi", "cs", "hu", "bn", "ms")
COLUMNS = ("id", "lang", "prompt", "type", "subtype", "level", "specific")
LEVELS: dict[Label, tuple[int, ...]] = {"harmful": (1, 2, 3), "harmless": (0,)}


def _read(path: Path, lang: str, label: Label, _split: Split) -> list[Prompt]:
    import pyarrow
    from pyarrow import parquet

    try:
        table = parquet.read_table(path, columns=list(COLUMNS), filters=[("lang", "=", lang)])
    except (pyarrow.ArrowException, KeyError, OSError) as error:
        raise FormatError(f"{path} is not LinguaSafe's parquet file of {', '.join(COLUMNS)}: {error}.") from error
    prompts, times = [], Counter[str]()
    for row in table.to_pylist():
        text, level = (row["prompt"] or "").strip(), row["level"]
        if level not in (0, 1, 2, 3):
            raise FormatError(f"{path} has the level {level!r} for the id {row['id']!r}; LinguaSafe's are 0 to 3.")
        name = f"linguasafe-{row['id']}" + (f"-{lang}" if row["specific"] else "")
        times[name] += 1
        if text and level in LEVELS[label]:
            number = f"-{times[name]}" if times[name] > 1 else ""
            tags = (*filter(None, (row["type"], row["subtype"])), f"level {level}")
            prompts.append(Prompt(name + number, lang, label, text, tags=tags))
    return prompts


LINGUASAFE = Source(
    name="linguasafe",
    languages=LANGUAGES,
    files=lambda _lang, _label, _split: ("data/train-00000-of-00001.parquet",),
    read=_read,
    local="linguasafe.parquet",
    labels=("harmful", "harmless"),
    parallel=False,
)
