"""The files of a run as values: every judged reply of `--log_samples --output_path out`.

A run is a folder (or one `samples_<task>_<time>.jsonl` in it). lm_eval writes one folder per model, and the time into the
names of files. If a task was run twice, its newest file counts.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssn_eval.core import files
from ssn_eval.core.errors import EmptySetError, FormatError, MismatchError, MissingInputError
from ssn_eval.core.languages import language
from ssn_eval.judges.judged import (
    Judged,
    complied,
    escaped,
    harm,
    in_other_language,
    judged_text,
    leaked,
    refused,
    unsafe,
)
from ssn_eval.judges.verdict import Verdict

_NAME = re.compile(r"samples_(?P<task>.+?)_(?P<time>\d{4}-\d\d-\d\dT[\d.\-]+)\.jsonl|samples_(?P<bare>.+)\.jsonl")
JUDGED = "judged.json"
"""the file beside samples that `ssn judge` wrote: the judge, the inputs, and the config of lm_eval's run"""
BEGUN = ".judging.json"
"""the file in the folder of an unfinished judgement: the judge, and hashes of the replies"""
HARMFUL_METRICS = (
    "asr",
    "compliance",
    "refusal",
    "leak",
    "escape",
    "other_language",
    "invalid",
    "cut_off",
    "thought_cut_off",
    "unscored",
)
HARMLESS_METRICS = ("over_refusal", "other_language", "invalid", "cut_off", "thought_cut_off", "unscored")
RISING_IS_BETTER = ("refusal",)


@dataclass(frozen=True)
class Reply:
    """One judged reply of a run."""

    task: str
    benchmark: str
    label: str
    """`harmful` (the prompt should be refused) or `harmless` (it should be answered)"""
    id: str
    """the prompt's id, the same in every language of a benchmark; replies are paired and clustered by it"""
    lang: str
    prompt: str
    tags: tuple[str, ...]
    translation: str
    """`human`, `machine`, `original`, …; `unknown` if the run does not name it"""
    verdict: Verdict
    judge: str
    """the judge's identity, as JSON text"""
    says: tuple[str, ...]
    reply_lang: str | None
    knows_reply_lang: bool
    finished: bool | None
    """whether the model ended the reply itself; None if it is not known"""
    thought: Verdict | None = None
    """the verdict on the thought; None if there is none, or if thoughts were not judged"""

    def flag(self, metric: str) -> bool | None:
        """Whether the reply counts for a metric; None if it is not in the denominator, or the judge does not report the metric.

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
            "leak": leaked(self.thought, verdict, self.says),
            "escape": escaped(self.thought, verdict, self.says),
            "other_language": in_other_language(verdict, self.reply_lang, self.lang) if self.knows_reply_lang else None,
            "invalid": None if verdict.unscored else verdict.invalid,
            "cut_off": None if self.finished is None else not self.finished,
            "thought_cut_off": None if verdict.unscored else verdict.is_cut_off,
            "unscored": verdict.unscored,
        }
        return flags[metric]

    @property
    def score(self) -> float | None:
        """The degree of harm from 0 to 1; None if the judge failed or gives none."""
        return harm(self.verdict) if "score" in self.says else None

    @property
    def tier(self) -> str:
        """Resource tier of the language: HR, MR or LR."""
        return language(self.lang).tier


def read(path: Path) -> list[Reply]:
    """Every judged reply of a run, in the order of its files; tasks that are not about safety are ignored.

    Raises:
        MissingInputError: the path does not exist, or the folder holds no samples file.
        FormatError: a file is not lm_eval's samples, or its replies were not judged.
        MismatchError: the folder holds several runs or an unfinished judgement, or an id comes twice in one language of a task.
        EmptySetError: the files hold no reply.
    """
    if (path / BEGUN).is_file():
        raise MismatchError(
            f"{path} is a judgement that is not finished; run the same `ssn judge` command again first."
        )
    replies = [reply for file in safety_files(path)[0] for reply in _replies(file)]
    if not replies:
        raise EmptySetError(f"{path} holds no judged reply.")
    keys: set[tuple[str, str, str]] = set()
    for reply in replies:
        key = (reply.task, reply.lang, reply.id)
        if key in keys:
            raise MismatchError(
                f"{path}: the prompt id {reply.id!r} comes twice in {reply.task} in {reply.lang}; replies are paired by id, so an id may come only once."
            )
        keys.add(key)
    return replies


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


def _replies(file: Path) -> Iterator[Reply]:
    metadata = metadata_of(file)
    for number, row in rows(file):
        place = f"{file} line {number}"
        doc = row.get("doc")
        if (
            not isinstance(doc, Mapping)
            or not all(isinstance(doc.get(k), str) for k in ("lang", "prompt"))
            or "id" not in doc
        ):
            raise FormatError(f"{place} is no sample of a safety task: it needs a doc with id, lang and prompt.")
        filtered = row.get("filtered_resps")
        text = judged_text(filtered)
        if text is None or isinstance(filtered, str):
            raise FormatError(f"{place} has no filtered_resps; it is no sample of lm_eval.")
        try:
            judged = Judged.from_text(text)
        except FormatError as error:
            raise FormatError(
                f"{place} was not judged (a --predict_only run?); judge it with `ssn judge {file.parent} --judge refusal --out DIR`."
            ) from error
        if len(judged.verdicts) != 1:
            raise FormatError(
                f"{place} holds {len(judged.verdicts)} replies to one prompt; a run must hold one reply per prompt."
            )
        task, lang = task_of(file), language(str(doc["lang"])).code
        yield Reply(
            task=task,
            benchmark=str(metadata.get("benchmark") or task.removesuffix(f"_{lang}")),
            label=str(doc.get("label") or metadata.get("label") or "harmful"),
            id=str(doc["id"]),
            lang=lang,
            prompt=doc["prompt"],
            tags=tuple(map(str, doc.get("tags") or ())),
            translation=str(doc.get("translation") or metadata.get("translation") or "unknown"),
            verdict=judged.verdicts[0],
            judge=json.dumps(judged.judge, sort_keys=True, ensure_ascii=False),
            says=judged.says,
            reply_lang=judged.reply_langs[0] if judged.reply_langs else None,
            knows_reply_lang=judged.reply_langs is not None,
            finished=judged.finished[0] if judged.finished else None,
            thought=judged.thoughts[0] if judged.thoughts else None,
        )


def judge_in_words(identity: str) -> str:
    """A judge's name and the rest of its identity, each part cut to twelve characters."""
    parts = json.loads(identity)
    details = [f"{key} {str(value)[:12]}" for key, value in sorted(parts.items()) if key != "name"]
    return f"{parts.get('name', '?')}: {', '.join(details)}" if details else str(parts.get("name", "?"))


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
