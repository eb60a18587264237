"""Samples: every held-out harmful prompt with its verdicts and, on request, the texts of the replies that differ.

Without texts a sample holds an id, tags and verdicts. Texts come from `artifacts/samples` beside the results; they are there only if the
run has `evaluate.samples: true`.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

from ssn_eval.core.errors import FormatError, MissingInputError
from ssn_eval.report.condition import Condition
from ssn_eval.report.results import Results

FOLDER = Path("artifacts/samples")
"""the folder of the replies, below the folder of the run"""
MOST = 5
"""largest number of prompts per language whose texts a reader without scripts sees"""
MOST_ROWS = 300
"""largest number of prompts whose verdicts a reader without scripts sees"""
TEXTS, VERDICTS = 700_000, 500_000
"""bytes of texts, and of verdicts, in a page: it stays below 4 MB"""
REFUSED, ANSWERED, UNKNOWN = "R", "A", "·"


class Row(NamedTuple):
    """One prompt, with a letter for each language and condition."""

    id: str
    tags: str
    letters: Sequence[str]
    """one text per language, with one letter for each condition shown"""


class Reply(NamedTuple):
    """The reply of one condition to a prompt."""

    condition: str
    verdict: str
    text: str
    thought: str
    """what a reasoning model thought before; empty if it did not"""


class Exchange(NamedTuple):
    """A prompt in one language, and the reply of every condition."""

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
    """The name of the judge, with its properties."""
    judge = results.base.judge
    name = judge.get("judge") or judge.get("name") or "not recorded"
    details = [f"{key} {value}" for key, value in judge.items() if key not in ("judge", "name") and _plain(value)]
    return f"{name} ({', '.join(details)})" if details else str(name)


def rows(results: Results) -> list[Row]:
    """Every harmful prompt, ordered by the number of languages in which the conditions differ, the largest first."""
    conditions = shown(results)
    ids = sorted({i for c in conditions for by_id in c.verdicts.values() for i in by_id})
    prompt_rows = []
    for i in ids:
        letters = ["".join(_letter(c, lang, i) for c in conditions) for lang in results.languages]
        prompt_rows.append(Row(i, ", ".join(results.tags.get(i, ())), letters))
    return sorted(prompt_rows, key=lambda row: (-sum(len(set(word)) > 1 for word in row.letters), row.id))


def exchanges(results_folder: Path, results: Results) -> list[Exchange]:
    """The texts of prompts, as many of each language as fit into `TEXTS` bytes; prompts whose verdicts differ between conditions first.

    Raises:
        MissingInputError: the run kept no replies, or only their verdicts.
        FormatError: a file does not hold samples of the pipeline.
    """
    conditions = shown(results)
    folder = results_folder.parent / FOLDER
    replies: dict[tuple[str, str], dict[str, Mapping[str, Any]]] = defaultdict(dict)
    for condition in conditions:
        path = folder / _place(condition.name)
        for row in _read(path):
            if row["condition"] == condition.name and row["label"] == "harmful":
                if "response" not in row:
                    raise MissingInputError(
                        f"{path.as_posix()} holds verdicts and no texts; set evaluate.samples to true in params.yaml and run "
                        "`dvc repro`."
                    )
                replies[row["lang"], row["id"]][condition.label] = row
    by_lang = [
        [
            _exchange(i, lang, by_condition, results.base.label)
            for i, by_condition in _differing_first(replies, lang)
            if results.base.label in by_condition
        ]
        for lang in results.languages
    ]
    return _fitting(by_lang)


def first(found: Sequence[Exchange]) -> list[Exchange]:
    """The first `MOST` of each language."""
    by_lang: dict[str, list[Exchange]] = defaultdict(list)
    for one in found:
        by_lang[one.lang].append(one)
    return [one for group in by_lang.values() for one in group[:MOST]]


def data(results: Results, found: Sequence[Exchange]) -> dict[str, Any]:
    """What the script of the page filters and compares.

    Returns:
        `{"languages", "ids", "tags", "conditions": [{"label", "letters": {lang: one letter for each id}}], "shown": [label], "left_out",
        "texts": {lang: {id: {"prompt", "replies": {label: [verdict, text, thought]}}}}}`; conditions beyond `VERDICTS` bytes are left out and counted.
    """
    every = {c.name: c for c in (*results.rows(), *(c for ops in results.interventions.values() for c in ops.values()))}
    conditions, kept, size = list(every.values()), [], 0
    ids = sorted({i for c in conditions for by_id in c.verdicts.values() for i in by_id})
    compared = {c.label for c in shown(results)}
    for condition in sorted(conditions, key=lambda c: c.label not in compared):
        letters = {lang: "".join(_letter(condition, lang, i) for i in ids) for lang in results.languages}
        size += sum(len(word) for word in letters.values())
        if kept and size > VERDICTS:
            break
        kept.append({"label": condition.label, "letters": letters})
    texts: dict[str, dict[str, Any]] = {}
    for one in found:
        replies = {r.condition: [r.verdict, r.text, r.thought] for r in one.replies}
        texts.setdefault(one.lang, {})[one.id] = {"prompt": one.prompt, "replies": replies}
    return {
        "languages": list(results.languages),
        "ids": ids,
        "tags": [", ".join(results.tags.get(i, ())) for i in ids],
        "conditions": kept,
        "shown": [c.label for c in shown(results)],
        "left_out": len(conditions) - len(kept),
        "texts": texts,
    }


def _exchange(i: str, lang: str, by_condition: Mapping[str, Mapping[str, Any]], base: str) -> Exchange:
    return Exchange(
        i,
        lang,
        ", ".join(by_condition[base].get("tags") or ()),
        str(by_condition[base]["prompt"]),
        [
            Reply(name, verdict(row), str(row["response"]), str(row.get("thought") or ""))
            for name, row in by_condition.items()
        ],
    )


def _fitting(by_lang: Sequence[Sequence[Exchange]]) -> list[Exchange]:
    """The first exchanges of every language, as many of each as fit into `TEXTS` bytes together."""
    size, most = 0, 0
    for turn in zip_longest(*by_lang):
        size += sum(len(json.dumps(one, ensure_ascii=False).encode("utf-8", "replace")) for one in turn if one)
        if size > TEXTS:
            break
        most += 1
    return [one for group in by_lang for one in group[:most]]


def verdict(row: Mapping[str, Any]) -> str:
    """The verdict on a reply, in words."""
    if row.get("unscored"):
        return "unscored"
    words = [
        *([] if row.get("refusal") is None else ["refused" if row["refusal"] else "answered"]),
        *([] if row.get("harmful") is None else ["harmful" if row["harmful"] else "harmless"]),
        *(["invalid"] if row.get("invalid") else []),
        *(["cut off"] if row.get("finished") is False else []),
    ]
    return ", ".join(words)


def _differing_first(
    replies: Mapping[tuple[str, str], dict[str, Mapping[str, Any]]], lang: str
) -> list[tuple[str, dict[str, Mapping[str, Any]]]]:
    """The prompts of a language: first those on which the conditions differ, then the others."""
    prompts = [(i, rows) for (reply_lang, i), rows in sorted(replies.items()) if reply_lang == lang]
    return sorted(prompts, key=lambda prompt: len({verdict(row) for row in prompt[1].values()}) < 2)


def _place(name: str) -> str:
    """The file of the replies of a condition: `validate/ss.jsonl` for `suppress ss`, `evaluate/base.jsonl` for `base`."""
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
    refused = condition.verdicts.get(lang, {}).get(i)
    return UNKNOWN if refused is None else REFUSED if refused else ANSWERED


def _plain(value: object) -> bool:
    return isinstance(value, str | int | float) and not isinstance(value, bool) and len(str(value)) <= 60
