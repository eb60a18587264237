"""A benchmark's prompts in one language, from a local copy or from the source; a damaged copy is refused in one sentence."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from ssn_eval.core.errors import EmptySetError, MismatchError, MissingInputError, UnknownNameError
from ssn_eval.prompts.benchmarks.copies import absent, fetched, file_in, local_copy
from ssn_eval.prompts.benchmarks.source import Source, Split
from ssn_eval.prompts.jsonl import read_jsonl
from ssn_eval.prompts.prompt import Label, Prompt, refuse_flaws

REFERENCE = "en"
"""The language whose ids the others must have; in a JSONL file without it, the first one."""


def load(
    source: Source, lang: str, label: Label, revision: str | None = None, *, every_split: bool = False
) -> list[Prompt]:
    """The prompts of one language and label, in the order of their source.

    Args:
        source: the benchmark.
        lang: the language.
        label: `harmful` or `harmless`.
        revision: of the online source, instead of its pinned one; a local copy has none.
        every_split: read all splits, as the pipeline does, and not only the one that is evaluated.

    Raises:
        UnknownNameError: the benchmark has no such language or label.
        MissingInputError: there is no local copy, and the source is neither cached nor reachable.
        FormatError: a file is not what it should be, holds an id twice, or a prompt without text.
        MismatchError: the languages of a local copy should be parallel and are not.
        EmptySetError: nothing fits.
    """
    if label not in source.labels:
        raise UnknownNameError(f"label of {source.name}", label, source.labels)
    copy = local_copy(source)
    if copy is not None and _is_jsonl(source, copy):
        prompts, reference = _from_jsonl(source, copy, lang, label, every_split)
    else:
        if lang not in source.languages:
            raise UnknownNameError(f"language of {source.name}", lang, source.languages)
        prompts, reference = _from_own_files(source, copy, lang, label, revision, every_split)
    place = copy or source.pin.repo
    if not prompts:
        raise EmptySetError(f"{place} holds no {label} prompts in {lang} for {source.name}.")
    refuse_flaws(prompts, place)
    if source.alone(lang, label):
        return _alone(prompts, lang)
    if copy is not None and source.parallel:
        _refuse_gaps(prompts, reference, copy)
    return prompts


def languages(source: Source, label: Label) -> tuple[str, ...]:
    """The languages that can be read: those of a local JSONL file, else all that the benchmark has.

    Raises:
        MissingInputError, FormatError: as `load`.
    """
    copy = local_copy(source)
    if copy is not None and _is_jsonl(source, copy):
        return tuple(dict.fromkeys(p.lang for p in read_jsonl(copy) if p.label == label))
    return source.languages if label in source.labels else ()


def load_copy(source: Source, copy: Path) -> list[Prompt]:
    """Every prompt of a file or folder in a benchmark's own form: all its languages, labels and splits.

    Raises:
        MissingInputError: a folder holds no file of the benchmark.
        FormatError: a file is not what it should be, holds an id twice, or a prompt without text.
    """
    prompts: list[Prompt] = []
    for label in source.labels:
        for lang in source.languages:
            with suppress(UnknownNameError):  # a file may have fewer languages than the benchmark
                own_prompts = _own_prompts(source, copy, lang, label, source.splits.get(label, (None,)))
                refuse_flaws(own_prompts, copy)
                prompts += _alone(own_prompts, lang) if source.alone(lang, label) else own_prompts
    if not prompts:
        raise MissingInputError(
            f"{copy} holds no prompt of {source.name}; expected {source.local} as {source.pin.repo} has it."
        )
    return prompts


def _is_jsonl(source: Source, copy: Path) -> bool:
    return copy.suffix == ".jsonl" and copy.name != source.local


def _alone(prompts: Sequence[Prompt], lang: str) -> list[Prompt]:
    return [replace(p, id=f"{p.id}-{lang}") for p in prompts]


def _from_jsonl(
    source: Source, path: Path, lang: str, label: Label, every_split: bool
) -> tuple[list[Prompt], list[Prompt]]:
    """The prompts of the language, and those of the reference language."""
    labelled = [p for p in read_jsonl(path) if p.label == label]
    if not every_split:
        labelled = _evaluated(labelled, source.evaluated.get(label, ()))
    langs = {p.lang for p in labelled}
    if labelled and lang not in langs:
        raise UnknownNameError(f"language of {path} ({label})", lang, langs)
    shared = [code for code in dict.fromkeys(p.lang for p in labelled) if not source.alone(code, label)]
    reference = REFERENCE if REFERENCE in shared else next(iter(shared), None)
    return [p for p in labelled if p.lang == lang], [p for p in labelled if p.lang == reference]


def _evaluated(prompts: list[Prompt], splits: Sequence[Split]) -> list[Prompt]:
    """The prompts of the first split that any language has; all prompts if none names a split."""
    present = {p.split for p in prompts}
    if not splits or present == {None}:
        return prompts
    split = next((name for name in splits if name in present), None)
    return [p for p in prompts if split is not None and p.split == split]


def _from_own_files(
    source: Source, copy: Path | None, lang: str, label: Label, revision: str | None, every_split: bool
) -> tuple[list[Prompt], list[Prompt]]:
    """The prompts of the language, and those of the reference language if a local copy has them."""
    splits = source.splits.get(label, (None,)) if every_split else source.evaluated_splits(label)
    if copy is None:
        files = [(fetched(source, lang, label, split, revision), split) for split in splits]
        return [p for file, split in files for p in source.read(file, lang, label, split)], []
    prompts = _own_prompts(source, copy, lang, label, splits)
    if not prompts and not any(file_in(source, copy, lang, label, split) for split in splits):
        raise absent(source, copy, lang, label, splits[0])
    if lang == REFERENCE or not source.parallel:
        return prompts, prompts
    return prompts, _own_prompts(source, copy, REFERENCE, label, splits)


def _own_prompts(source: Source, copy: Path, lang: str, label: Label, splits: Sequence[Split]) -> list[Prompt]:
    """The prompts of the given splits, as far as a local copy has them."""
    return [
        prompt
        for split in splits
        if (file := file_in(source, copy, lang, label, split))
        for prompt in source.read(file, lang, label, split)
    ]


def _refuse_gaps(prompts: Sequence[Prompt], reference: Sequence[Prompt], place: Path) -> None:
    """Stop if a language lacks ids of the reference language, or has others; only splits that both have are compared."""
    splits = {p.split for p in prompts} & {p.split for p in reference}
    ids, expected = ({p.id for p in some if p.split in splits} for some in (prompts, reference))
    if not expected or ids == expected:
        return
    missing, more = sorted(expected - ids), sorted(ids - expected)
    parts = [f"lacks {len(missing)} of them (the first: {missing[0]})"] if missing else []
    parts += [f"has {len(more)} others (the first: {more[0]})"] if more else []
    raise MismatchError(
        f"{place} is not parallel: {reference[0].lang} has {len(expected)} ids, and {prompts[0].lang} {' and '.join(parts)}; "
        f"give every language the same prompts, because languages are compared prompt by prompt."
    )
