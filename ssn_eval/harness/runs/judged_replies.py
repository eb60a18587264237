"""The judged replies of a run, as values that rates and comparisons count."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ssn_eval.core.errors import EmptySetError, FormatError, MismatchError
from ssn_eval.core.languages import language
from ssn_eval.harness.runs.samples import BEGUN, metadata_of, rows, safety_files, task_of
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
