"""A user's own prompts as lm_eval tasks: a folder with the prompts and the YAML files, which may be moved.

The YAML is made from the templates in `tasks/`, which the benchmarks' tasks include; so the replies are judged alike.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from ssn_eval.core import files
from ssn_eval.core.errors import ParamsError
from ssn_eval.core.languages import language
from ssn_eval.harness.bootstrap import tasks_folder
from ssn_eval.prompts.benchmarks.catalogue import SOURCES
from ssn_eval.prompts.jsonl import write_jsonl
from ssn_eval.prompts.prompt import LABELS, Prompt

PROMPTS = "prompts.jsonl"
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_DOCUMENTS = '''"""The prompts beside this file, for the task files beside it. Written by `ssn data add`."""

from ssn_eval.harness.datasets import beside

documents = beside(__file__)
'''


class OwnTasks(NamedTuple):
    """What was written."""

    prompts: Path
    tasks: list[str]
    """their names, as lm_eval shows them"""


def refuse_name(name: str, folder: Path) -> None:
    """Stop if a task cannot be called so, or if the folder is not free.

    Raises:
        ParamsError: says what to choose.
    """
    if not _NAME.fullmatch(name) or name in SOURCES:
        raise ParamsError(
            f"A task cannot be called {name!r}: give --name with small letters, digits and _, and not the name of a benchmark."
        )
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ParamsError(f"{folder} is there already and not empty; nothing was overwritten. Give --out a new folder.")


def write_tasks(folder: Path, name: str, prompts: Sequence[Prompt]) -> OwnTasks:
    """Write the prompts, and a task for each language and label.

    `--tasks <folder>` runs them all. Several languages also get a group, whose mean gives them equal weights:
    `--include_path <folder> --tasks <name>`.

    Args:
        folder: new or empty.
        name: of the task; with several languages `<name>_<language>`; with both labels `<name>_<label>` takes its place.
        prompts: at least one.

    Raises:
        ParamsError: as `refuse_name`.
    """
    refuse_name(name, folder)
    labels = [label for label in LABELS if any(p.label == label for p in prompts)]
    written: list[str] = []
    with files.atomic(folder) as temporary:
        temporary.mkdir()
        write_jsonl(temporary / PROMPTS, prompts)
        files.write_text(temporary / "documents.py", _DOCUMENTS)
        for label in labels:
            group = name if len(labels) == 1 else f"{name}_{label}"
            langs = list(dict.fromkeys(p.lang for p in prompts if p.label == label))
            tasks = {group if len(langs) == 1 else f"{group}_{lang}": lang for lang in langs}
            files.write_text(temporary / f"_{label}_task_yaml", _settings(label))
            for task, lang in tasks.items():
                files.write_text(temporary / f"{task}.yaml", _task(task, label, lang))
            if len(tasks) > 1:
                files.write_text(temporary / "groups" / f"{group}.yaml", _group(group, label, tasks))
            written += tasks
    return OwnTasks(folder / PROMPTS, written)


def _settings(label: str) -> str:
    """What the tasks of a label share: the template of the benchmarks, with other documents."""
    return _template(f"_{label}_task_yaml").replace(
        "custom_dataset: !function ssn_eval.harness.datasets.documents", "custom_dataset: !function documents.documents"
    )


def _task(task: str, label: str, lang: str) -> str:
    head = f"# {label.capitalize()} prompts of {PROMPTS} in {language(lang).name}. Written by `ssn data add`.\n"
    fields = {"version": 1.0, "label": label, "lang": lang, "tier": language(lang).tier, "translation": "unknown"}
    metadata = "".join(f"  {key}: {json.dumps(value)}\n" for key, value in fields.items())
    return f"{head}include: _{label}_task_yaml\ntask: {task}\nmetadata:\n{metadata}"


def _group(group: str, label: str, tasks: Iterable[str]) -> str:
    members = "".join(f"  - {task}\n" for task in tasks)
    return f"# The mean over the languages. Written by `ssn data add`.\ngroup: {group}\ntask:\n{members}{_template(f'_{label}_group_yaml')}"


def _template(name: str) -> str:
    """A template without its comment."""
    lines = (tasks_folder() / name).read_text(encoding="utf-8").splitlines(keepends=True)
    return "".join(line for line in lines if not line.startswith("#"))
