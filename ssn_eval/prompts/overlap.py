"""Which prompts two sets share, by their normalised text: for the table of benchmarks, and before training.

Two prompts are the same if they have the same letters, marks and digits in the same words; case, punctuation, typographic
variants and spaces do not count. A paraphrase or a translation is not found. Nothing is fetched: only benchmarks that lie on
this machine are compared.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from ssn_eval.core.errors import SsnError
from ssn_eval.prompts.benchmarks.catalogue import SOURCES
from ssn_eval.prompts.benchmarks.copies import is_here
from ssn_eval.prompts.benchmarks.loading import load
from ssn_eval.prompts.benchmarks.source import Source

_KEPT = "LMN"
"""First letters of the Unicode categories that count: letters, marks (vowels of Thai and Bengali), digits"""


@dataclass(frozen=True)
class Overlap:
    """What a set of prompts shares with one benchmark."""

    benchmark: str
    shared: int
    """prompts of the benchmark that the set has too"""
    total: int
    """prompts of the benchmark in the languages that were compared"""

    def __str__(self) -> str:
        """For people: `jbb_harmful (12 of its 100)`."""
        return f"{self.benchmark} ({self.shared:,} of its {self.total:,})"


def normalised(text: str) -> str:
    """The words of a text in one case and without punctuation; empty if it has none."""
    letters = unicodedata.normalize("NFKC", text).casefold()
    return " ".join("".join(c if unicodedata.category(c)[0] in _KEPT else " " for c in letters).split())


def shared(first: Iterable[str], second: Iterable[str]) -> set[str]:
    """The normalised texts that two sets of prompts have in common."""
    return ({normalised(text) for text in first} & {normalised(text) for text in second}) - {""}


def local_texts(source: Source, langs: Sequence[str]) -> list[str]:
    """The evaluated prompts of a benchmark in some languages, as far as they lie on this machine and can be read."""
    texts: list[str] = []
    for label in source.labels:
        for lang in langs:
            if lang in source.languages and is_here(source, lang, label):
                with suppress(SsnError):  # a damaged copy is the concern of the run that evaluates it
                    texts += [prompt.prompt for prompt in load(source, lang, label)]
    return texts


def overlaps(texts: Mapping[str, Sequence[str]]) -> list[Overlap]:
    """The benchmarks on this machine that evaluate prompts of a set, those with most shared prompts first.

    Args:
        texts: language → prompts of the set.
    """
    known = {normalised(text) for prompts in texts.values() for text in prompts}
    found: list[Overlap] = []
    for source in SOURCES.values():
        if source.is_training:
            continue
        theirs = [normalised(text) for text in local_texts(source, list(texts))]
        count = sum(text in known for text in theirs if text)
        if count:
            found.append(Overlap(source.name, count, len(theirs)))
    return sorted(found, key=lambda overlap: -overlap.shared)


def warning(found: Sequence[Overlap]) -> str | None:
    """A sentence about training on prompts that a benchmark evaluates; None if there are none."""
    if not found:
        return None
    return (
        f"The pairs hold prompts that benchmarks evaluate: {', '.join(map(str, found))}. A model trained on them does well "
        f"there without being safer; leave these pairs out, or do not report these benchmarks (docs/data.md, Overlap)."
    )
