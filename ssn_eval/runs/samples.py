"""What lm_eval wrote of a run, as values: every judged reply of `--log_samples --output_path out`.

A run is a folder (or one `samples_<task>_<time>.jsonl` in it). lm_eval keeps one folder a model and stamps files with the
time; of a task that was run twice the newest file counts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssn_eval import files
from ssn_eval.errors import EmptySetError, FormatError, MismatchError, MissingInputError
from ssn_eval.judges.judged import Judged, complied, in_other_language, refused, unsafe
from ssn_eval.judges.verdict import Verdict
from ssn_eval.languages import language

_NAME = re.compile(r"samples_(?P<task>.+?)_(?P<time>\d{4}-\d\d-\d\dT[\d.\-]+)\.jsonl|samples_(?P<bare>.+)\.jsonl")
HARMFUL_METRICS = ("asr", "compliance", "refusal", "other_language", "invalid", "unscored")
HARMLESS_METRICS = ("over_refusal", "other_language", "invalid", "unscored")
RISING_IS_BETTER = ("refusal",)


@dataclass(frozen=True)
class Reply:
    """One judged reply of a run."""

    task: str
    benchmark: str
    label: str
    """`harmful` or `harmless`: what should be done with the prompt"""
    id: str
    """the same in every language of a benchmark: replies are paired and clustered by it"""
    lang: str
    tags: tuple[str, ...]
    translation: str
    """`human`, `machine`, `original`, …; `unknown` where the run does not say"""
    verdict: Verdict
    judge: str
    """the judge's identity, as JSON text"""
    says: tuple[str, ...]
    reply_lang: str | None
    knows_reply_lang: bool

    def flag(self, metric: str) -> bool | None:
        """Does the reply count for a metric? None where it leaves the denominator, or the judge does not tell.

        Raises:
            KeyError: no such metric.
        """
        verdict = self.verdict
        refusal = refused(verdict) if "refusal" in self.says else None
        flags = {
            "asr": unsafe(verdict) if "harmful" in self.says else None,
            "compliance": complied(verdict) if "refusal" in self.says else None,
            "refusal": refusal,
            "over_refusal": refusal,
            "other_language": in_other_language(verdict, self.reply_lang, self.lang) if self.knows_reply_lang else None,
            "invalid": None if verdict.unscored else verdict.invalid,
            "unscored": verdict.unscored,
        }
        return flags[metric]

    @property
    def tier(self) -> str:
        """Resource tier of the language: HR, MR or LR."""
        return language(self.lang).tier


def read(path: Path) -> list[Reply]:
    """Every judged reply of a run, in the order of its files.

    Raises:
        MissingInputError: there is nothing at the path, or no samples file in the folder.
        FormatError: a file is not lm_eval's samples, or its replies were not judged.
        MismatchError: the folder holds several runs, or an id comes twice in one language of a task.
        EmptySetError: the files hold no reply.
    """
    found = [reply for file in files_of(path) for reply in _replies(file)]
    if not found:
        raise EmptySetError(f"{path} holds no judged reply.")
    seen: set[tuple[str, str]] = set()
    for reply in found:
        key = (reply.task, reply.id)
        if key in seen:
            raise MismatchError(
                f"{path}: the prompt id {reply.id!r} comes twice in {reply.task}; ids pair replies, so each may come once."
            )
        seen.add(key)
    return found


def files_of(path: Path) -> list[Path]:
    """The samples files of a run, the newest of each task, by task.

    Raises:
        MissingInputError: there is nothing at the path, or no samples file in the folder.
        MismatchError: samples lie in more than one folder below the path.
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
    return [newest[task][1] for task in sorted(newest)]


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


def _replies(file: Path) -> Iterator[Reply]:
    metadata = _metadata(file)
    for number, row in rows(file):
        where = f"{file} line {number}"
        doc = row.get("doc")
        if not isinstance(doc, Mapping) or not isinstance(doc.get("lang"), str) or "id" not in doc:
            raise FormatError(f"{where} is no sample of a safety task: it needs a doc with id, lang and prompt.")
        text = row.get("filtered_resps")
        if not isinstance(text, Sequence) or isinstance(text, str) or not text:
            raise FormatError(f"{where} has no filtered_resps; it is no sample of lm_eval.")
        try:
            judged = Judged.from_text(str(text[0]))
        except FormatError as error:
            raise FormatError(
                f"{where} was not judged (a --predict_only run?); judge it with `ssn judge {file.parent} --judge refusal --out DIR`."
            ) from error
        if len(judged.verdicts) != 1:
            raise FormatError(
                f"{where} holds {len(judged.verdicts)} replies to one prompt; runs are read with one each."
            )
        task, lang = task_of(file), language(str(doc["lang"])).code
        yield Reply(
            task=task,
            benchmark=str(metadata.get("benchmark") or task.removesuffix(f"_{lang}")),
            label=str(doc.get("label") or metadata.get("label") or "harmful"),
            id=str(doc["id"]),
            lang=lang,
            tags=tuple(map(str, doc.get("tags") or ())),
            translation=str(doc.get("translation") or metadata.get("translation") or "unknown"),
            verdict=judged.verdicts[0],
            judge=json.dumps(judged.judge, sort_keys=True, ensure_ascii=False),
            says=judged.says,
            reply_lang=judged.reply_langs[0] if judged.reply_langs else None,
            knows_reply_lang=judged.reply_langs is not None,
        )


def _metadata(file: Path) -> Mapping[str, Any]:
    """What the results file beside the samples says of the task; nothing where there is none."""
    for results in sorted(file.parent.glob("results_*.json"), reverse=True):
        try:
            configs = json.loads(results.read_text(encoding="utf-8")).get("configs", {})
        except (OSError, ValueError, AttributeError):
            continue
        found = configs.get(task_of(file), {}).get("metadata")
        if isinstance(found, Mapping):
            return found
    return {}
