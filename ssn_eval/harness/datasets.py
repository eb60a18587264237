"""Where our tasks' documents come from: `custom_dataset` functions for lm_eval, one per benchmark.

lm_eval calls each with the task's `metadata` as keywords, together with everything of `--metadata` and `--model_args`,
so they take what they need and ignore the rest. A document is one `Prompt` or organism `Item`, as a flat row.

MultiJail is looked for in this order, and the first that is there is read:
1. `MultiJail.csv` in the folder that `SSN_DATA_DIR` names;
2. `data/MultiJail.csv` of the pipeline in the current folder (`dvc pull data/MultiJail.csv.dvc` puts it there, pinned);
3. the hub's cache or the hub: `DAMO-NLP-SG/MultiJail`, split `train`. Its newest revision, unless the metadata say
   `multijail_revision` (`lm_eval --metadata multijail_revision=<commit>`): the pinned source is the second one.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ssn_eval import prompts
from ssn_eval.errors import MissingInputError
from ssn_eval.harness.exits import one_sentence

if TYPE_CHECKING:
    from datasets import DatasetDict

SPLIT = "test"
"""The one split that our tasks read, whatever the source calls its own."""
MULTIJAIL_HUB = "DAMO-NLP-SG/MultiJail"
MULTIJAIL_FILE = "MultiJail.csv"


def multijail(lang: str, multijail_revision: str | None = None, **_: object) -> DatasetDict:
    """MultiJail in one language: 315 rows `{id, lang, label, prompt, tags}`.

    Raises:
        MissingInputError: no local copy, and the hub and its cache cannot give one (ends the command with a sentence).
        UnknownNameError: MultiJail does not have the language.
    """
    with one_sentence():
        path = multijail_file()
        found = prompts.multijail(path, lang) if path else _multijail_from_hub(lang, multijail_revision)
        return _rows(
            {"id": p.id, "lang": p.lang, "label": p.label, "prompt": p.prompt, "tags": list(p.tags)} for p in found
        )


def multijail_file() -> Path | None:
    """The local copy of MultiJail's CSV, if there is one.

    Raises:
        MissingInputError: `SSN_DATA_DIR` is set but its folder holds no `MultiJail.csv`.
    """
    folder = os.environ.get("SSN_DATA_DIR")
    if folder:
        path = Path(folder).expanduser() / MULTIJAIL_FILE
        if not path.is_file():
            raise MissingInputError(
                f"SSN_DATA_DIR is {folder}, but there is no {MULTIJAIL_FILE} in it; put it there or unset it."
            )
        return path
    path = Path("data") / MULTIJAIL_FILE
    return path if path.is_file() else None


def organism(lang: str, label: str, split: str = "heldout", **_: object) -> DatasetDict:
    """The organism's questions of one language and label: rows `{id, lang, label, split, prompt, answer, covered}`.

    Raises:
        UnknownNameError: an unknown language, label or split.
        MissingInputError: the lexicon is not there.
    """
    from dataclasses import asdict

    from ssn_eval.organism import lexicon, questions

    with one_sentence():
        return _rows(asdict(item) for item in questions.items(lexicon.load(), lang, label, split))  # type: ignore[arg-type]


def _rows(rows: Iterable[Mapping[str, object]]) -> DatasetDict:
    from datasets import Dataset, DatasetDict

    return DatasetDict({SPLIT: Dataset.from_list([dict(row) for row in rows])})


def _multijail_from_hub(lang: str, revision: str | None) -> list[prompts.Prompt]:
    """The hub's copy, written to a passing CSV so that one reader serves every source."""
    from datasets import load_dataset

    try:
        data = load_dataset(MULTIJAIL_HUB, split="train", revision=revision)
    except Exception as error:  # the hub's libraries raise errors of many unrelated classes
        raise MissingInputError(
            f"{MULTIJAIL_FILE} is neither in SSN_DATA_DIR nor in ./data, and {MULTIJAIL_HUB} is neither in the hub's "
            f"cache nor reachable ({type(error).__name__}): run `dvc pull data/MultiJail.csv.dvc` in the project, or "
            f"set SSN_DATA_DIR to a folder that holds the file, or go online once."
        ) from error
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / MULTIJAIL_FILE
        data.to_csv(path, index=False)  # type: ignore[union-attr]
        return prompts.multijail(path, lang)
