"""A benchmark's prompts in one language, wherever they are read from; a damaged local copy is refused in one sentence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ssn_eval import prompts
from ssn_eval.core.errors import EmptySetError, FormatError, MismatchError, UnknownNameError
from ssn_eval.harness.sources.copies import fetched, in_folder, local_copy
from ssn_eval.harness.sources.source import Source
from ssn_eval.prompts import Label, Prompt

REFERENCE = "en"
"""The language whose ids the others must have; in a JSONL file without it, the first one."""


def load(source: Source, lang: str, label: Label, revision: str | None = None) -> list[Prompt]:
    """The prompts of one language and label, in the order of their source.

    Args:
        source: the benchmark.
        lang: the language.
        label: `harmful` or `harmless`.
        revision: of the online source, instead of its pinned one; a local copy has none.

    Raises:
        UnknownNameError: the benchmark has no such language or label.
        MissingInputError: no local copy, and the source is neither cached nor reachable.
        FormatError: a file is not what it should be, or holds an id twice.
        MismatchError: a local copy whose languages should be parallel and are not.
        EmptySetError: nothing fits.
    """
    if label not in source.labels:
        raise UnknownNameError(f"label of {source.name}", label, source.labels)
    copy = local_copy(source)
    if copy is not None and copy.suffix == ".jsonl" and copy.name != source.local:
        found, others = _from_jsonl(source, copy, lang, label)
    else:
        if lang not in source.languages:
            raise UnknownNameError(f"language of {source.name}", lang, source.languages)
        found, others = _from_own_files(source, copy, lang, label, revision)
    where = copy or source.repo
    if not found:
        raise EmptySetError(f"{where} holds no {label} prompts in {lang} for {source.name}.")
    _refuse_duplicates(found, where)
    if source.alone(lang, label):
        return [replace(p, id=f"{p.id}-{lang}") for p in found]
    if copy is not None and source.parallel:
        _refuse_gaps(found, others, copy)
    return found


def _from_jsonl(source: Source, path: Path, lang: str, label: Label) -> tuple[list[Prompt], list[Prompt]]:
    chosen = source.choose([p for p in prompts.read(path) if p.label == label])
    have = {p.lang for p in chosen}
    if chosen and lang not in have:
        raise UnknownNameError(f"language of {path} ({label})", lang, have)
    shared = [code for code in dict.fromkeys(p.lang for p in chosen) if not source.alone(code, label)]
    reference = REFERENCE if REFERENCE in shared else next(iter(shared), None)
    return [p for p in chosen if p.lang == lang], [p for p in chosen if p.lang == reference]


def _from_own_files(
    source: Source, copy: Path | None, lang: str, label: Label, revision: str | None
) -> tuple[list[Prompt], list[Prompt]]:
    """The prompts, and those of the reference language where a local copy has them."""
    if copy is None:
        return source.read(fetched(source, lang, label, revision), lang, label), []

    def file(of: str) -> Path:
        return in_folder(source, copy, of, label) if copy.is_dir() else copy

    found = source.read(file(lang), lang, label)
    if lang == REFERENCE or not source.parallel:
        return found, found
    names = [Path(name).name for name in source.files(REFERENCE, label)]
    if copy.is_dir() and not any((copy / name).is_file() for name in names):
        return found, []
    return found, source.read(file(REFERENCE), REFERENCE, label)


def _refuse_duplicates(found: Sequence[Prompt], where: object) -> None:
    seen: set[str] = set()
    for prompt in found:
        if prompt.id in seen:
            raise FormatError(f"{where} holds the id {prompt.id!r} twice in {prompt.lang}; ids must be unique.")
        seen.add(prompt.id)


def _refuse_gaps(found: Sequence[Prompt], others: Sequence[Prompt], where: Path) -> None:
    ids, reference = {p.id for p in found}, {p.id for p in others}
    if not reference or ids == reference:
        return
    lacking, more = sorted(reference - ids), sorted(ids - reference)
    said = [f"lacks {len(lacking)} of them (the first: {lacking[0]})"] if lacking else []
    said += [f"has {len(more)} others (the first: {more[0]})"] if more else []
    raise MismatchError(
        f"{where} is not parallel: {others[0].lang} has {len(reference)} ids, and {found[0].lang} {' and '.join(said)}; give "
        f"every language the same prompts, because languages are compared prompt by prompt."
    )
