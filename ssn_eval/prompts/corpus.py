"""The pipeline's prompt set: the organism's own questions, or benchmark files for a real model; every prompt with a split."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

from ssn_eval.core.errors import EmptySetError
from ssn_eval.core.params import ORGANISM, Params
from ssn_eval.core.settings import PromptParams
from ssn_eval.prompts.prompt import LABELS, Label, Prompt
from ssn_eval.prompts.reading import languages_of, read_prompts

TRAIN, HELDOUT = "train", "heldout"


def prepare(settings: Params) -> list[Prompt]:
    """All prompts of the run's languages and both labels, split into `train` and `heldout`, cut to `prompts.limit`.

    Raises:
        EmptySetError: a language has no prompts of a label; the message names the languages that have some.
        MissingInputError: a benchmark's file is not there.
    """
    if settings.model == ORGANISM:
        return _cut(_organism(settings.languages), settings.prompts)
    return from_sources(settings.languages, settings.prompts)


def from_sources(languages: Sequence[str], settings: PromptParams) -> list[Prompt]:
    """All prompts of some languages and both labels from the sources that the settings name, split and cut in the same way.

    Raises:
        EmptySetError, MissingInputError: as `prepare`.
    """
    return _cut([p for label in LABELS for p in _read(languages, settings, label)], settings)


def _cut(prompts: Sequence[Prompt], settings: PromptParams) -> list[Prompt]:
    return _limited(_split(prompts, settings.heldout, settings.seed), settings.limit)


def _read(languages: Sequence[str], settings: PromptParams, label: Label) -> list[Prompt]:
    """The prompts of one label from the source that the settings name."""
    source = {"harmful": settings.harmful, "harmless": settings.harmless}[label]
    available = languages_of(source, label)
    missing = [code for code in languages if code not in available]
    if missing:
        possible = [code for code in languages if code in available]
        remedy = (
            f"Choose languages that it has (-S 'languages=[{','.join(possible)}]'), or another source."
            if len(possible) > 1
            else "Shared neurons need a second language, so choose another source."
        )
        raise EmptySetError(
            f"There are no {label} prompts in {', '.join(missing)}: the source prompts.{label} has only "
            f"{', '.join(sorted(available))}. {remedy}"
        )
    return read_prompts(source, languages, (label,))


def _organism(langs: Sequence[str]) -> list[Prompt]:
    from ssn_eval.organism import lexicon, questions

    words = lexicon.load()
    return [
        Prompt(item.id, item.lang, label, item.prompt, split)
        for lang in langs
        for label in LABELS
        for split in (TRAIN, HELDOUT)
        for item in questions.items(words, lang, label, split)  # type: ignore[arg-type]
    ]


def _split(prompts: Sequence[Prompt], share: float, seed: int) -> list[Prompt]:
    """Keep `train` and call every other split `heldout`; if the source has no split, draw held-out ids."""
    unsplit = sorted({p.id for p in prompts if p.split is None})
    drawn = set(random.Random(seed).sample(unsplit, round(share * len(unsplit))))

    def side(prompt: Prompt) -> str:
        if prompt.split is None:
            return HELDOUT if prompt.id in drawn else TRAIN
        return TRAIN if prompt.split == TRAIN else HELDOUT

    return [replace(p, split=side(p)) for p in prompts]


def _limited(prompts: Sequence[Prompt], limit: int | None) -> list[Prompt]:
    """At most `limit` prompts of a language, label and split: the same ids in every language that has them, in source order."""
    if limit is None:
        return list(prompts)
    ids: dict[tuple[str, str | None], dict[str, None]] = {}
    by_language: dict[tuple[str, str, str | None], list[Prompt]] = {}
    for prompt in prompts:
        by_language.setdefault((prompt.lang, prompt.label, prompt.split), []).append(prompt)
    keys: set[tuple[str, str, str]] = set()
    for (lang, label, split), group in by_language.items():
        shared = ids.setdefault((label, split), {})
        first = sorted(group, key=lambda p: p.id not in shared)[:limit]  # stable: ids of earlier languages come first
        shared.update(dict.fromkeys(p.id for p in first))
        keys |= {(lang, label, p.id) for p in first}
    return [p for p in prompts if (p.lang, p.label, p.id) in keys]
