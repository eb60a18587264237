"""Prompt sets: ordinary and harmful prompts by language, parallel by id, whatever file they come from.

The project's own form is JSONL, one object a line: `{"id", "lang", "label": "harmful"|"harmless", "prompt"}`, with
`split`, `tags` and `response` optional. MultiJail's CSV (315 prompts × 10 languages; utf-8 with a BOM; `tags` is a Python list
written as text) is read into the same values. No file is ever executed or guessed at.
"""

from __future__ import annotations

import ast
import csv
import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ssn_eval.core import files
from ssn_eval.core.errors import EmptySetError, FormatError, MismatchError, MissingInputError, UnknownNameError
from ssn_eval.core.languages import language

if TYPE_CHECKING:
    pass

Label = Literal["harmful", "harmless"]
LABELS: tuple[Label, ...] = ("harmful", "harmless")
_POLYREFUSE = re.compile(
    r"(?P<label>harmful|harmless)_(?P<split>train|val|test)(_\d+_sampled|_translated_(?P<lang>[a-z]+))?\.json"
)
MULTIJAIL_LANGUAGES = ("en", "zh", "it", "vi", "ar", "ko", "th", "bn", "sw", "jv")


@dataclass(frozen=True)
class Prompt:
    """One prompt in one language; the same `id` in another language is its translation."""

    id: str
    lang: str
    label: Label
    prompt: str
    split: str | None = None
    tags: tuple[str, ...] = ()
    response: str | None = None
    """what was answered, where that is part of the set"""

    def to_json(self) -> dict[str, Any]:
        """The JSONL object, without empty optional fields."""
        row: dict[str, Any] = {"id": self.id, "lang": self.lang, "label": self.label, "prompt": self.prompt}
        if self.split is not None:
            row["split"] = self.split
        if self.tags:
            row["tags"] = list(self.tags)
        if self.response is not None:
            row["response"] = self.response
        return row


def read(path: Path) -> list[Prompt]:
    """Read prompts: JSONL in the project's form, MultiJail's CSV (by its ending), or PolyRefuse's folder.

    Raises:
        MissingInputError: there is no such file.
        FormatError: names the line that is not a prompt.
        EmptySetError: the file holds no prompt.
    """
    if path.is_dir():
        return polyrefuse(path)
    if not path.is_file():
        raise MissingInputError(
            f"No prompt file at {path}; expected JSONL with id, lang, label, prompt, or MultiJail's CSV."
        )
    if path.suffix == ".csv":
        return multijail(path)
    found = [
        _parse(line, f"{path} line {n}")
        for n, line in enumerate(files.read_text(path, "a prompt file").split("\n"), 1)
        if line.strip()
    ]
    if not found:
        raise EmptySetError(f"{path} holds no prompt; expected one JSON object a line.")
    _refuse_duplicates(found, path)
    return found


def read_all(paths: Iterable[Path]) -> list[Prompt]:
    """Read several files as one set. A prompt that stands in two of them counts once.

    Raises:
        SsnError: as `read`.
        MismatchError: two files give one id to different prompts of a language and label.
    """
    found: dict[tuple[str, str, str], tuple[Prompt, Path]] = {}
    for path in paths:
        for prompt in read(path):
            first, where = found.setdefault((prompt.id, prompt.lang, prompt.label), (prompt, path))
            if first.prompt != prompt.prompt:
                raise MismatchError(
                    f"{where} and {path} hold different {prompt.label} prompts with the id {prompt.id!r} in {prompt.lang}; "
                    f"give one of them other ids, or use each file by itself."
                )
    return [prompt for prompt, _ in found.values()]


def multijail(path: Path, lang: str | None = None) -> list[Prompt]:
    """Read MultiJail's CSV: every language that it has, or one.

    Raises:
        MissingInputError, FormatError, UnknownNameError: as `read`; the last for a language that is not in the file.
    """
    if not path.is_file():
        raise MissingInputError(f"No MultiJail file at {path}; get it with `dvc pull data/MultiJail.csv.dvc`.")
    try:
        text = io.StringIO(files.read_text(path, "MultiJail's CSV"), newline="")
        rows = list(csv.DictReader(text, strict=True))
    except csv.Error as error:
        raise FormatError(f"{path} is not MultiJail's CSV: {error}.") from error
    if not rows or not {"id", "tags", "en"} <= set(rows[0]):
        raise FormatError(f"{path} is not MultiJail's CSV: its header lacks id, tags or en.")
    columns = [c for c in rows[0] if c in MULTIJAIL_LANGUAGES]
    if lang is not None and lang not in columns:
        raise UnknownNameError("MultiJail language", lang, columns)
    chosen = columns if lang is None else [lang]
    return [
        Prompt(f"multijail-{row['id']}", code, "harmful", row[code].strip(), None, _tags(row["tags"], path))
        for code in chosen
        for row in rows
        if row[code]
    ]


def polyrefuse(folder: Path) -> list[Prompt]:
    """Read PolyRefuse's folder: `harmful_train_translated_th.json` and the like, parallel by position.

    Where English has no such file it has one without `_translated_en`, from `dataset/splits` of the same repository.

    Raises:
        MissingInputError: the folder is not there or holds no such file.
        FormatError: a file is not a list of objects with an `instruction`.
    """
    found: list[Prompt] = []
    for file in sorted(folder.glob("*.json")) if folder.is_dir() else []:
        match = _POLYREFUSE.fullmatch(file.name)
        if match:
            label: Label = "harmful" if match["label"] == "harmful" else "harmless"
            found += polyrefuse_file(file, label, match["split"], match["lang"] or "en")
    if not found:
        raise MissingInputError(f"No PolyRefuse files in {folder}; get them with `dvc pull data/PolyRefuse.dvc`.")
    return found


def polyrefuse_file(file: Path, label: Label, split: str, lang: str) -> list[Prompt]:
    """Read one file of PolyRefuse; its categories become tags.

    In test files `instruction` is the English prompt, whatever the language, and `instruction_translated` the prompt.

    Raises:
        FormatError: it is not a list of objects with an `instruction`.
        UnknownNameError: the language is not known.
    """
    code = language(lang).code
    try:
        rows = [
            (row.get("instruction_translated") or row["instruction"], row.get("category"))
            for row in files.read_json(file, "a PolyRefuse file")
        ]
    except (KeyError, TypeError, AttributeError) as error:
        raise FormatError(
            f"{file} is not a PolyRefuse file (a list of objects with `instruction`): {error!r}."
        ) from error
    return [
        Prompt(f"{label}-{split}-{i}", code, label, str(text), split, (str(tag),) if tag else ())
        for i, (text, tag) in enumerate(rows)
    ]


def write(path: Path, prompts: Iterable[Prompt]) -> None:
    """Write prompts as JSONL, whole or not at all."""
    files.write_text(path, "".join(json.dumps(p.to_json(), ensure_ascii=False) + "\n" for p in prompts))


def select(prompts: Iterable[Prompt], *, lang: str, label: Label, split: str | None = None) -> list[Prompt]:
    """The prompts of one language and label (and split, where one is named), in file order.

    Raises:
        UnknownNameError: the language is not known.
        EmptySetError: nothing fits, and the message names what the file does hold.
    """
    language(lang)
    prompts = list(prompts)
    found = [p for p in prompts if p.lang == lang and p.label == label and (split is None or p.split == split)]
    if not found:
        have = sorted({f"{p.lang}/{p.label}" + (f"/{p.split}" if p.split else "") for p in prompts})
        wanted = f"{lang}/{label}" + (f"/{split}" if split else "")
        raise EmptySetError(f"No {wanted} prompts (language/label) were found; the prompt set holds {', '.join(have)}.")
    return found


def _parse(line: str, where: str) -> Prompt:
    row = files.parse_json(line, where, "a prompt")
    if not isinstance(row, Mapping) or not all(isinstance(row.get(k), str) for k in ("id", "lang", "label", "prompt")):
        raise FormatError(f"{where} is not a prompt; expected an object with the texts id, lang, label and prompt.")
    if row["label"] not in LABELS:
        raise FormatError(f"{where} has the label {row['label']!r}; expected one of {', '.join(LABELS)}.")
    language(row["lang"])
    tags = row.get("tags") or ()
    split, response = row.get("split"), row.get("response")
    if not isinstance(tags, (list, tuple)) or not all(isinstance(v, (str, type(None))) for v in (split, response)):
        raise FormatError(f"{where} has a split or response that is no text, or tags that are no list.")
    return Prompt(row["id"], row["lang"], row["label"], row["prompt"], split, tuple(map(str, tags)), response)


def _tags(text: str | None, path: Path) -> tuple[str, ...]:
    try:
        value = ast.literal_eval(text or "")
    except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
        raise FormatError(f"{path} has tags that are not a list: {str(text)[:60]!r}.") from error
    return tuple(map(str, value)) if isinstance(value, list) else (str(value),)


def _refuse_duplicates(prompts: Sequence[Prompt], path: Path) -> None:
    seen: set[tuple[str, str]] = set()
    for prompt in prompts:
        if (prompt.id, prompt.lang) in seen:
            raise FormatError(
                f"{path} holds the id {prompt.id!r} twice in {prompt.lang}; ids must be unique in a language."
            )
        seen.add((prompt.id, prompt.lang))
