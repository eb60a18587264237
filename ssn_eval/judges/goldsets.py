"""Public gold sets by name, in the layout of their source: replies with a label that says whether they refuse.

| name | source, revision | rows | label |
|---|---|---|---|
| `polyguardprompts` | hub `ToxicityPrompts/PolyGuardPrompts` @de2d7fad | 29,000 translated replies, 17 languages | by people, who agree or not |
| `multilingual_refusals` | hub `s-nlp/multilingual_refusals` @24f33ba | 8,005 rows of two answers and two refusals, de en es fr ru | generated as refusals |
| `refusal_classifier_data` | hub `agentlans/refusal-classifier-data` @ac1fdf0 | 10,000 to 100,000 conversations, 37 languages | by a model |

None of them was at hand when this was written: the columns follow their cards and public code that reads them. A set in another
layout is refused, and the message names the columns that it has.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ssn_eval.core import files
from ssn_eval.core.errors import EmptySetError, FormatError, UnknownNameError
from ssn_eval.core.languages import LANGUAGES
from ssn_eval.judges.calibration import GoldRow, Label
from ssn_eval.judges.reply_language import reply_languages
from ssn_eval.judges.verdict import Exchange

AGREEMENT = 3
"""annotators (of three) who must agree on a label of PolyGuardPrompts, unless told otherwise"""
_CODES = {entry.name.lower(): code for code, entry in LANGUAGES.items()}
_TURN = re.compile(r"<\|(system|user|assistant)\|>")


@dataclass(frozen=True)
class GoldSet:
    """One public gold set."""

    name: str
    source: str
    """where one can get it"""
    labels: tuple[Label, ...]
    read: Callable[[Path, Label, int], Iterator[GoldRow]]
    """(file or folder, label, agreement) → its rows in languages of the table"""


def read_set(name: str, path: Path, label: Label = "refusal", agreement: int = AGREEMENT) -> list[GoldRow]:
    """The rows of a public gold set.

    Args:
        name: a key of `GOLD_SETS`.
        path: its file, or the folder that holds its files.
        label: the label that every row must have.
        agreement: annotators who must agree, where the set says how many did.

    Raises:
        UnknownNameError: no such set, or the set does not have the label.
        FormatError: a file is not in the layout of the set.
        EmptySetError: no row is left.
    """
    if name not in GOLD_SETS:
        raise UnknownNameError("gold set", name, GOLD_SETS)
    gold_set = GOLD_SETS[name]
    if label not in gold_set.labels:
        raise UnknownNameError(f"label of {name}", label, gold_set.labels)
    rows = list(gold_set.read(path, label, agreement))
    if not rows:
        raise EmptySetError(f"{path} holds no row of {name} with a {label} label in a language that is known.")
    return rows


def _polyguard(path: Path, label: Label, agreement: int) -> Iterator[GoldRow]:
    """Rows whose label enough annotators gave; languages are written as names."""
    column = {"refusal": "response_refusal", "harmful": "response_harm"}[label]
    names = ("prompt", "response", "language", f"{column}_label", f"{column}_agreement")
    for file in _files(path, "parquet"):
        for row in _parquet(file, names):
            code = _CODES.get(str(row["language"]).strip().lower())
            said, agreed = row[f"{column}_label"], row[f"{column}_agreement"]
            if code is None or not row["response"] or said is None or agreed is None or agreed < agreement:
                continue
            positive = _said(
                str(said), {"refusal": True, "compliance": False, "harmful": True, "unharmful": False}, file
            )
            labels = (positive, None) if label == "refusal" else (None, positive)
            yield GoldRow(Exchange(str(row["prompt"] or ""), str(row["response"]), code), *labels)


def _paired(path: Path, _label: Label, _agreement: int) -> Iterator[GoldRow]:
    """Two answers and two refusals a row; the language is the beginning of the file's name. The prompts are not in the set."""
    columns = {"answer_1": False, "refusal_1": True, "answer_2": False, "refusal_2": True}
    for file in _files(path, "parquet"):
        code = _CODES.get(file.name.split("-")[0].removesuffix(".parquet").lower())
        if code is None:
            continue
        for row in _parquet(file, tuple(columns)):
            for column, refusal in columns.items():
                if row[column]:
                    yield GoldRow(Exchange("", str(row[column]), code), refusal, None)


def _conversations(path: Path, _label: Label, _agreement: int) -> Iterator[GoldRow]:
    """Conversations with role tokens; the last reply is judged, in its own language if that is certain."""
    exchanges: list[tuple[str, str, bool]] = []
    for file in _files(path, "jsonl"):
        for number, line in enumerate(files.read_text(file, "conversations").split("\n"), 1):
            if not line.strip():
                continue
            row = files.parse_json(line, f"{file} line {number}", "a conversation")
            if not isinstance(row, Mapping) or not {"text", "label"} <= set(row):
                raise FormatError(f"{file} line {number} is not an object with text and label.")
            refusal = _said(str(row["label"]), {"refusal": True, "1": True, "non-refusal": False, "0": False}, file)
            parts = _TURN.split(str(row["text"]))
            turns = list(zip(parts[1::2], parts[2::2], strict=True))
            if not turns or turns[-1][0] != "assistant":
                raise FormatError(f"{file} line {number} does not end with a reply (<|assistant|>…).")
            prompt = next((text for role, text in reversed(turns) if role == "user"), "")
            exchanges.append((prompt.strip(), turns[-1][1].strip(), refusal))
    codes = reply_languages([response for _, response, _ in exchanges])
    for (prompt, response, refusal), code in zip(exchanges, codes, strict=True):
        if code is not None:
            yield GoldRow(Exchange(prompt, response, code), refusal, None)


GOLD_SETS: Mapping[str, GoldSet] = {
    gold_set.name: gold_set
    for gold_set in (
        GoldSet(
            "polyguardprompts",
            "hub ToxicityPrompts/PolyGuardPrompts, revision de2d7fadd9311b140e69ec120a11a43ca3338df4, *.parquet",
            ("refusal", "harmful"),
            _polyguard,
        ),
        GoldSet(
            "multilingual_refusals",
            "hub s-nlp/multilingual_refusals, revision 24f33ba, data/*.parquet",
            ("refusal",),
            _paired,
        ),
        GoldSet(
            "refusal_classifier_data",
            "hub agentlans/refusal-classifier-data, revision ac1fdf0, multilingual_dataset/test.jsonl",
            ("refusal",),
            _conversations,
        ),
    )
}


def _files(path: Path, ending: str) -> Sequence[Path]:
    """The path itself, or the files of this kind in a folder.

    Raises:
        FormatError: the folder has none.
    """
    found = [path] if path.is_file() else sorted(path.rglob(f"*.{ending}"))
    if not found:
        raise FormatError(f"{path} holds no .{ending} file.")
    return found


def _parquet(file: Path, columns: Sequence[str]) -> Iterator[Mapping[str, Any]]:
    import pyarrow
    from pyarrow import parquet

    try:
        opened = parquet.ParquetFile(file)
        if missing := [name for name in columns if name not in opened.schema_arrow.names]:
            raise FormatError(
                f"{file} lacks {', '.join(missing)}; its columns are {', '.join(opened.schema_arrow.names)}."
            )
        for batch in opened.iter_batches(columns=list(columns)):
            yield from batch.to_pylist()
    except (pyarrow.ArrowException, OSError) as error:
        raise FormatError(f"{file} is not a parquet file: {error}.") from error


def _said(label: str, meanings: Mapping[str, bool], file: Path) -> bool:
    try:
        return meanings[label.strip().lower()]
    except KeyError:
        raise FormatError(f"{file} has the label {label!r}; expected {', '.join(meanings)}.") from None
