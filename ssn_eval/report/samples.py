"""Samples: every held-out harmful prompt with its verdicts, and, only if asked for, the replies that changed.

Without texts a sample is an id, its tags, and what the judge said. Texts come from `artifacts/samples` beside the results, which has them
only if the run was asked to keep them (`evaluate.samples: true`).
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ssn_eval.core.errors import FormatError, MissingInputError
from ssn_eval.report.results import Condition, Results

FOLDER = Path("artifacts/samples")
"""where the pipeline keeps replies, below the run's folder"""
MOST = 5
"""prompts a language whose texts are shown"""
REFUSED, ANSWERED, UNKNOWN = "R", "A", "·"


class Row(NamedTuple):
    """One prompt: a letter for each language and condition."""

    id: str
    tags: str
    letters: Sequence[str]
    """by language: one letter for each condition shown"""


class Reply(NamedTuple):
    """One condition's reply to a prompt."""

    condition: str
    verdict: str
    text: str


class Exchange(NamedTuple):
    """A prompt in one language, and what every condition replied."""

    id: str
    lang: str
    tags: str
    prompt: str
    replies: Sequence[Reply]


def shown(results: Results) -> list[Condition]:
    """The conditions whose verdicts are compared prompt by prompt: base, SS suppressed, hardened."""
    suppressed = results.interventions.get("ss", {}).get("suppress")
    return [c for c in (results.base, suppressed, results.hardened) if c]


def judge_of(results: Results) -> str:
    """Who judged, in words."""
    judge = results.base.judge
    name = judge.get("judge") or judge.get("name") or "not recorded"
    more = [f"{key} {value}" for key, value in judge.items() if key not in ("judge", "name") and _plain(value)]
    return f"{name} ({', '.join(more)})" if more else str(name)


def rows(results: Results) -> list[Row]:
    """Every harmful prompt whose verdict differs somewhere, the most telling first: those that changed in most languages."""
    conditions = shown(results)
    ids = sorted({i for c in conditions for found in c.verdicts.values() for i in found})
    found = []
    for i in ids:
        letters = ["".join(_letter(c, lang, i) for c in conditions) for lang in results.languages]
        found.append(Row(i, ", ".join(results.tags.get(i, ())), letters))
    return sorted(found, key=lambda row: (-sum(len(set(word)) > 1 for word in row.letters), row.id))


def exchanges(results_folder: Path, results: Results) -> list[Exchange]:
    """The texts of the first prompts of each language whose verdict is not the same in every condition.

    Raises:
        MissingInputError: the run kept no replies, or no texts of them.
        FormatError: a file is not the pipeline's samples.
    """
    conditions = shown(results)
    folder = results_folder.parent / FOLDER
    found: dict[tuple[str, str], dict[str, Mapping[str, Any]]] = defaultdict(dict)
    for condition in conditions:
        path = folder / _place(condition.name)
        for row in _read(path):
            if row["condition"] == condition.name and row["label"] == "harmful":
                if "response" not in row:
                    raise MissingInputError(
                        f"{path.as_posix()} holds verdicts and no texts; set evaluate.samples to true in params.yaml and run "
                        "`dvc repro`."
                    )
                found[row["lang"], row["id"]][condition.label] = row
    return [
        Exchange(
            i,
            lang,
            ", ".join(by_condition[results.base.label].get("tags") or ()),
            str(by_condition[results.base.label]["prompt"]),
            [Reply(name, verdict(row), str(row["response"])) for name, row in by_condition.items()],
        )
        for lang in results.languages
        for i, by_condition in _telling(found, lang)
        if results.base.label in by_condition
    ]


def verdict(row: Mapping[str, Any]) -> str:
    """What the judge said of a reply, in words."""
    if row.get("unscored"):
        return "unscored"
    words = [
        *([] if row.get("refusal") is None else ["refused" if row["refusal"] else "answered"]),
        *([] if row.get("harmful") is None else ["harmful" if row["harmful"] else "harmless"]),
        *(["invalid"] if row.get("invalid") else []),
    ]
    return ", ".join(words)


def _telling(
    found: Mapping[tuple[str, str], dict[str, Mapping[str, Any]]], lang: str
) -> list[tuple[str, dict[str, Mapping[str, Any]]]]:
    """The first prompts of a language on which conditions differ, or the first at all."""
    mine = [(i, rows) for (other, i), rows in sorted(found.items()) if other == lang]
    differ = [(i, rows) for i, rows in mine if len({verdict(row) for row in rows.values()}) > 1]
    return (differ or mine)[:MOST]


def _place(name: str) -> str:
    """Where a condition's replies lie: `suppress ss` in `validate/ss.jsonl`, `base` in `evaluate/base.jsonl`."""
    kind, _, item = name.rpartition(" ")
    return f"evaluate/{item}.jsonl" if kind in ("", "train") else f"validate/{item}.jsonl"


def _read(path: Path) -> Iterator[Mapping[str, Any]]:
    if not path.is_file():
        raise MissingInputError(
            f"There are no samples at {path.as_posix()}; run `dvc repro`, or leave --with-samples out."
        )
    try:
        for number, line in enumerate(filter(None, path.read_text(encoding="utf-8").split("\n")), 1):
            row = json.loads(line)
            if not isinstance(row, dict) or not {"condition", "label", "lang", "id"} <= row.keys():
                raise FormatError(f"{path.as_posix()} line {number} is not a sample of the pipeline.")
            yield row
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise FormatError(f"{path.as_posix()} is not the pipeline's samples: {error}.") from error


def _letter(condition: Condition, lang: str, i: str) -> str:
    found = condition.verdicts.get(lang, {}).get(i)
    return UNKNOWN if found is None else REFUSED if found else ANSWERED


def _plain(value: object) -> bool:
    return isinstance(value, str | int | float) and not isinstance(value, bool) and len(str(value)) <= 60
