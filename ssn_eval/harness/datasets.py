"""The documents of our tasks: `custom_dataset` functions for lm_eval.

lm_eval calls them with the task's `metadata`, `--metadata`, `--model_args` and `dataset_kwargs` as keywords. Each function
uses the keywords that it needs and ignores the others. `prompts.benchmarks` reads the prompts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

from ssn_eval.core.errors import ParamsError
from ssn_eval.harness.exits import one_sentence
from ssn_eval.prompts.prompt import Label, Prompt

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

SPLIT = "test"
"""The only split of our documents; the source may call its split otherwise."""
LAPTOP = 20
"""Number of documents of a task in `ssn_suite_lite`."""


def documents(
    benchmark: str,
    lang: str,
    label: Label = "harmful",
    translation: str = "",
    limit: int | None = None,
    **metadata: object,
) -> DatasetDict:
    """One benchmark in one language: rows `{id, lang, label, prompt, tags, translation}`.

    Args:
        benchmark: a name of `benchmarks.catalogue`.
        lang: the language's code.
        label: `harmful` or `harmless`.
        translation: how the prompts were translated, from the task's metadata.
        limit: number of documents, spread evenly over the benchmark; a parallel benchmark gives the same ids in every language.
        **metadata: `<benchmark>_revision`, a commit, tag or branch instead of the pinned commit.

    Raises:
        SsnError: the errors of `benchmarks.loading.load`; a command ends with one sentence.
    """
    from ssn_eval.prompts.benchmarks.catalogue import source
    from ssn_eval.prompts.benchmarks.loading import load

    with one_sentence():
        revision = metadata.get(f"{benchmark}_revision")
        prompts = load(source(benchmark), lang, label, str(revision) if revision is not None else None)
        return _documents(prompts, limit, translation)


def beside(module: str) -> Callable[..., DatasetDict]:
    """A `custom_dataset` of the file `prompts.jsonl` that lies beside a module, for task files that lie there too.

    Prompts of the split `train` are not evaluated if there are others, because training uses them.

    Args:
        module: the `__file__` of that module.
    """

    def own_documents(
        lang: str, label: Label, translation: str = "", limit: int | None = None, **_: object
    ) -> DatasetDict:
        from ssn_eval.prompts.jsonl import read_jsonl
        from ssn_eval.prompts.prompt import select_prompts

        with one_sentence():
            prompts = select_prompts(read_jsonl(Path(module).with_name("prompts.jsonl")), lang=lang, label=label)
            evaluated = [p for p in prompts if p.split != "train"] or prompts
            return _documents(evaluated, limit, translation)

    return own_documents


def laptop_sample(docs: Dataset) -> Dataset:
    """The `process_docs` of lm_eval's own tasks in `ssn_suite_lite`: 20 documents of a task, spread evenly."""
    return docs.select(_spread(len(docs), LAPTOP))


def organism(lang: str, label: str, split: str = "heldout", **_: object) -> DatasetDict:
    """The organism's questions of one language and label: rows `{id, lang, label, split, prompt, answer, covered}`.

    Raises:
        UnknownNameError: an unknown language, label or split.
        MissingInputError: the lexicon is missing.
    """
    from dataclasses import asdict

    from ssn_eval.organism import lexicon, questions

    with one_sentence():
        return _rows(asdict(item) for item in questions.items(lexicon.load(), lang, label, split))  # type: ignore[arg-type]


def _spread(size: int, limit: int | None) -> range | list[int]:
    """`limit` positions, evenly spaced; all positions without a limit."""
    if limit is not None and (not isinstance(limit, int) or limit < 1):
        raise ParamsError(f"limit is {limit!r}; expected a whole number of documents, at least 1.")
    if limit is None or limit >= size:
        return range(size)
    return [i * size // limit for i in range(limit)]


def _documents(prompts: Sequence[Prompt], limit: int | None, translation: str) -> DatasetDict:
    return _rows(
        {
            "id": p.id,
            "lang": p.lang,
            "label": p.label,
            "prompt": p.prompt,
            "tags": list(p.tags),
            "translation": translation,
        }
        for p in (prompts[i] for i in _spread(len(prompts), limit))
    )


def _rows(rows: Iterable[Mapping[str, object]]) -> DatasetDict:
    from datasets import Dataset, DatasetDict

    return cast("DatasetDict", DatasetDict({SPLIT: Dataset.from_list([dict(row) for row in rows])}))
