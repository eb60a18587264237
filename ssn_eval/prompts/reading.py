"""Prompts from what a user names: a benchmark, a file or folder in a benchmark's own form, or JSONL."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from ssn_eval.core.errors import MismatchError, MissingInputError
from ssn_eval.prompts.benchmarks.catalogue import SOURCES, source_of_copy
from ssn_eval.prompts.benchmarks.loading import languages, load, load_copy
from ssn_eval.prompts.jsonl import read_jsonl
from ssn_eval.prompts.prompt import LABELS, Label, Prompt, select_prompts


def read_prompts(
    name: str | Path, langs: Sequence[str] | None = None, labels: Sequence[Label] = LABELS
) -> list[Prompt]:
    """Read prompts of every split.

    Args:
        name: the name of a benchmark (`multijail`, `advbench_x`, …), which is then read from where lm_eval reads it too; or
            the path of a benchmark's own file or folder, or of a JSONL file.
        langs: only these languages, in this order; all languages in the source's order if None.
        labels: only these labels.

    Raises:
        MissingInputError: there is no such benchmark and no such file.
        FormatError, EmptySetError, MismatchError: as `load`, `load_copy` and `read_jsonl`.
    """
    if str(name) in SOURCES:
        source = SOURCES[str(name)]
        return [
            prompt
            for label in source.labels
            if label in labels
            for lang in _chosen(languages(source, label), langs)
            for prompt in load(source, lang, label, every_split=True)
        ]
    path = Path(name)
    if not path.exists():
        raise MissingInputError(
            f"No prompt file at {name}: give a benchmark ({', '.join(SOURCES)}), a file or folder in a benchmark's own "
            f"form, or a JSONL file with id, lang, label and prompt."
        )
    copied = source_of_copy(path)
    prompts = load_copy(copied, path) if copied else read_jsonl(path)
    return [p for p in prompts if p.label in labels and (langs is None or p.lang in langs)]


def read_one_language(name: str | Path, lang: str, label: Label) -> list[Prompt]:
    """Read the prompts of one language and label; of a benchmark, nothing else is fetched.

    Raises:
        SsnError: as `load` for a benchmark, as `read_prompts` and `select_prompts` for a file.
    """
    if str(name) in SOURCES:
        return load(SOURCES[str(name)], lang, label, every_split=True)
    return select_prompts(read_prompts(name), lang=lang, label=label)


def read_all_prompts(sources: Iterable[str | Path], langs: Sequence[str]) -> list[Prompt]:
    """Read several sources as one set. A prompt that is in two of them counts once.

    Args:
        sources: each as in `read_prompts`.
        langs: the languages that are fetched of a benchmark; a file is read whole.

    Raises:
        SsnError: as `read_prompts`.
        MismatchError: two sources give one id to different prompts of a language and label.
    """
    prompts: dict[tuple[str, str, str], tuple[Prompt, str | Path]] = {}
    for source in sources:
        for prompt in read_prompts(source, langs if str(source) in SOURCES else None):
            first, first_source = prompts.setdefault((prompt.id, prompt.lang, prompt.label), (prompt, source))
            if first.prompt != prompt.prompt:
                raise MismatchError(
                    f"{first_source} and {source} hold different {prompt.label} prompts with the id {prompt.id!r} in {prompt.lang}; "
                    f"give one of them other ids, or use each file by itself."
                )
    return [prompt for prompt, _ in prompts.values()]


def languages_of(name: str | Path, label: Label) -> tuple[str, ...]:
    """The languages in which a source has prompts of a label.

    Raises:
        SsnError: as `read_prompts`.
    """
    if str(name) in SOURCES:
        return languages(SOURCES[str(name)], label)
    return tuple(dict.fromkeys(p.lang for p in read_prompts(name, labels=(label,))))


def _chosen(available: Sequence[str], langs: Sequence[str] | None) -> list[str]:
    return list(available) if langs is None else [lang for lang in langs if lang in available]
