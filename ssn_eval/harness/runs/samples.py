"""The files of a run (`--log_samples --output_path out`): which count, and what stands in them.

A run is a folder (or one `samples_<task>_<time>.jsonl` in it). lm_eval writes one folder per model, and the time into the
names of files. If a task was run twice, its newest file counts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ssn_eval.core import files
from ssn_eval.core.errors import FormatError, MismatchError, MissingInputError

_NAME = re.compile(r"samples_(?P<task>.+?)_(?P<time>\d{4}-\d\d-\d\dT[\d.\-]+)\.jsonl|samples_(?P<bare>.+)\.jsonl")
JUDGED = "judged.json"
"""the file beside samples that `ssn judge` wrote: the judge, the inputs, and the config of lm_eval's run"""
BEGUN = ".judging.json"
"""the file in the folder of an unfinished judgement: the judge, and hashes of the replies"""


def safety_files(path: Path) -> tuple[list[Path], list[str]]:
    """The samples files of a run whose documents are prompts in a language, and the names of its other tasks.

    A run of `ssn_suite` holds general tasks too, which are not judged. If the path is a file, it is returned in any case.

    Raises:
        MissingInputError, MismatchError: as `files_of`.
        FormatError: the folder holds no file of a safety task.
    """
    sample_files = files_of(path)
    if path.is_file():
        return sample_files, []
    safety = [file for file in sample_files if _is_safety(file)]
    if not safety:
        names = ", ".join(task_of(file) for file in sample_files[:4])
        raise FormatError(
            f"{path} holds no sample of a safety task ({names}): their documents have no prompt and lang; run multijail or another "
            f"task of docs/data.md."
        )
    return safety, [task_of(file) for file in sample_files if file not in safety]


def _is_safety(file: Path) -> bool:
    """Whether the first line is a sample of a safety task; also for an empty or broken file, whose reader then reports the fault."""
    with file.open(encoding="utf-8", errors="replace") as handle:
        line = handle.readline(1 << 24)
    try:
        doc = json.loads(line).get("doc")
    except (ValueError, AttributeError, RecursionError):
        return True
    return not isinstance(doc, Mapping) or ("lang" in doc and "prompt" in doc)


def files_of(path: Path) -> list[Path]:
    """The newest samples file of each task of a run, in the order of task names.

    Raises:
        MissingInputError: the path does not exist, or the folder holds no samples file.
        MismatchError: samples lie in more than one folder below the path, or are of different conditions.
    """
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise MissingInputError(
            f"There is no run at {path}; give the --output_path of an lm_eval run, or a samples file."
        )
    newest: dict[str, tuple[str, Path]] = {}
    folders = set()
    for file in sorted(path.rglob("samples_*.jsonl")):
        match = _NAME.fullmatch(file.name)
        if match is None:
            continue
        folders.add(file.parent)
        task, time = match["task"] or match["bare"], match["time"] or ""
        newest[task] = max(newest.get(task, ("", file)), (time, file))
    if len(folders) > 1:
        names = ", ".join(sorted(f.relative_to(path).as_posix() for f in folders))
        raise MismatchError(f"{path} holds several runs ({names}); name one of them.")
    if not newest:
        raise MissingInputError(
            f"{path} holds no samples_*.jsonl; run lm_eval with --log_samples --output_path {path}."
        )
    _refuse_several_conditions(path, newest.values())
    return [newest[task][1] for task in sorted(newest)]


def _refuse_several_conditions(path: Path, files_with_times: Iterable[tuple[str, Path]]) -> None:
    """Stop if a folder holds runs of several conditions, because lm_eval names a folder after the model alone."""
    conditions = set()
    for time, folder in {(time, file.parent) for time, file in files_with_times}:
        config = results_at(folder, time).get("config")
        if isinstance(config, Mapping):
            conditions.add(
                json.dumps([config.get("model"), config.get("model_args")], sort_keys=True, ensure_ascii=False)
            )
    if len(conditions) > 1:
        raise MismatchError(
            f"{path} holds tasks of different models or conditions ({' and '.join(sorted(conditions))}); give each condition its own "
            f"--output_path, or name one samples file."
        )


def results_at(folder: Path, time: str) -> Mapping[str, Any]:
    """lm_eval's results file with this time stamp, or the file that `ssn judge` wrote beside its samples; empty if there is none."""
    for file in (folder / JUDGED, folder / f"results_{time}.json"):
        if file.is_file():
            try:
                results = json.loads(file.read_text(encoding="utf-8"))
            except (OSError, ValueError, RecursionError):
                continue
            if isinstance(results, Mapping):
                return results
    return {}


def time_of(file: Path) -> str:
    """The time stamp in a samples file's name; empty if it has none."""
    match = _NAME.fullmatch(file.name)
    return (match["time"] or "") if match else ""


def task_of(file: Path) -> str:
    """The task that a samples file belongs to, by its name; the stem of any other file."""
    match = _NAME.fullmatch(file.name)
    return (match["task"] or match["bare"]) if match else file.stem


def rows(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The JSON objects of a JSONL file with their line numbers.

    Raises:
        MissingInputError, FormatError: no such file, or a line is not a JSON object.
    """
    text = files.read_text(file, "a samples file (JSONL)")
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        row = files.parse_json(line, f"{file} line {number}", "a sample")
        if not isinstance(row, dict):
            raise FormatError(f"{file} line {number} is not a JSON object.")
        yield number, row


def metadata_of(file: Path) -> Mapping[str, Any]:
    """The metadata of a samples file's task, from the results of the same run, else the newest; empty if there are none."""
    stamps = [
        time_of(file),
        *(p.stem.removeprefix("results_") for p in sorted(file.parent.glob("results_*.json"))[::-1]),
    ]
    for stamp in stamps:
        configs = results_at(file.parent, stamp).get("configs")
        config = configs.get(task_of(file)) if isinstance(configs, Mapping) else None
        if isinstance(config, Mapping) and isinstance(config.get("metadata"), Mapping):
            return config["metadata"]
    return {}
