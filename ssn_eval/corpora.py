"""The pipeline's prompt set: the organism's own questions, or benchmark files for a real model; every prompt with a split."""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ssn_eval import prompts
from ssn_eval.core.errors import EmptySetError, MissingInputError
from ssn_eval.core.params import ORGANISM, Params
from ssn_eval.prompts import LABELS, Label, Prompt

TRAIN, HELDOUT = "train", "heldout"
_FILES = {"multijail": ("MultiJail.csv",), "polyrefuse": ("PolyRefuse", "polyrefuse.jsonl")}


def prepare(settings: Params) -> list[Prompt]:
    """All prompts of the chosen languages and both labels, split into `train` and `heldout`, limited as asked.

    Raises:
        EmptySetError: a language has no prompts of a label; says which languages have.
        MissingInputError: a benchmark's file is not there.
    """
    if settings.model == ORGANISM:
        found = _organism(settings.languages)
    else:
        sources: dict[Label, str] = {"harmful": settings.prompts.harmful, "harmless": settings.prompts.harmless}
        found = [p for label in LABELS for p in _source(sources[label], label)]
    for label in LABELS:
        have = {p.lang for p in found if p.label == label}
        lacking = [code for code in settings.languages if code not in have]
        if lacking:
            possible = ",".join(code for code in settings.languages if code in have)
            raise EmptySetError(
                f"There are no {label} prompts in {', '.join(lacking)}: the source prompts.{label} has only "
                f"{', '.join(sorted(have))}. Choose languages that it has (-S 'languages=[{possible}]'), or another source."
            )
    chosen = [p for p in found if p.lang in settings.languages]
    return _limited(_split(chosen, settings.prompts.heldout, settings.prompts.seed), settings.prompts.limit)


def find_file(name: str) -> Path:
    """A benchmark's file: in `SSN_DATA_DIR`, else in the pipeline's `data/`; or a path as it is.

    Raises:
        MissingInputError: says where it was looked for and how to get it.
    """
    if name not in _FILES:
        path = Path(name)
        if not path.exists():
            raise MissingInputError(
                f"No prompt file at {name}; give multijail, polyrefuse or the path of a JSONL file."
            )
        return path
    folders = [Path(os.environ["SSN_DATA_DIR"])] if os.environ.get("SSN_DATA_DIR") else []
    for folder in [*folders, Path("data")]:
        for candidate in _FILES[name]:
            if (folder / candidate).exists():
                return folder / candidate
    raise MissingInputError(
        f"{_FILES[name][0]} is neither in SSN_DATA_DIR nor in data/; run `dvc pull data/{_FILES[name][0]}.dvc` or set SSN_DATA_DIR."
    )


def _source(name: str, label: Label) -> list[Prompt]:
    return [p for p in prompts.read(find_file(name)) if p.label == label]


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


def _split(found: Sequence[Prompt], share: float, seed: int) -> list[Prompt]:
    """Keep `train` and name everything else of a split source `heldout`; draw held-out ids where there is no split."""
    unsplit = sorted({p.id for p in found if p.split is None})
    drawn = set(random.Random(seed).sample(unsplit, round(share * len(unsplit))))  # noqa: S311

    def side(prompt: Prompt) -> str:
        if prompt.split is None:
            return HELDOUT if prompt.id in drawn else TRAIN
        return TRAIN if prompt.split == TRAIN else HELDOUT

    return [replace(p, split=side(p)) for p in found]


def _limited(found: Sequence[Prompt], limit: int | None) -> list[Prompt]:
    """At most `limit` ids per label and split, the same ids in every language, in the order of the source."""
    if limit is None:
        return list(found)
    kept: dict[tuple[str, str | None], dict[str, None]] = {}
    for prompt in found:
        ids = kept.setdefault((prompt.label, prompt.split), {})
        if len(ids) < limit:
            ids[prompt.id] = None
    return [p for p in found if p.id in kept[p.label, p.split]]
