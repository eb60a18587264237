"""A user's own table of prompts, CSV or JSONL: a column for each language, or one column `prompt` and a language.

Columns `id`, `label`, `split` and `tags` are read if they are there; other columns are not. A column `id` holds ids, so
Indonesian (`id`) needs the second form.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from ssn_eval.core.errors import FormatError, MissingInputError, ParamsError
from ssn_eval.core.languages import LANGUAGES, language
from ssn_eval.prompts.benchmarks.source import csv_rows, json_lines, listed
from ssn_eval.prompts.prompt import LABELS, Label, Prompt, refuse_flaws

ID, PROMPT, LANG, LABEL = "id", "prompt", "lang", "label"


@dataclass(frozen=True)
class _Table:
    path: Path
    columns: tuple[str, ...]
    rows: list[Mapping[str, Any]]


def read_table(
    path: Path, *, langs: Sequence[str] | None = None, lang: str | None = None, label: Label | None = None
) -> list[Prompt]:
    """Read a table of prompts.

    Args:
        path: a `.csv` file with a header, or a `.jsonl` file of objects.
        langs: only these languages; in a table with a column for each, all that have one if None.
        lang: the language of the column `prompt`, if the table has no column `lang`.
        label: the label of every prompt, if the table has no column `label`.

    Returns:
        The prompts in the order of the rows. Without a column `id`, the ids are the file's name and the number of the row.

    Raises:
        MissingInputError: there is no such file.
        FormatError: it is no such table, lacks a column, has an id twice in a language, or a prompt without text.
        ParamsError: a language or label is needed, or is given although the table has its own.
        UnknownNameError: a language is not known.
    """
    table = _read(path)
    for code in (*(langs or ()), *([lang] if lang else ())):
        language(code)
    if LABEL in table.columns and label:
        raise ParamsError(f"{path} has a column label, so --label does not go with it.")
    if LABEL not in table.columns and label is None:
        raise ParamsError(f"{path} has no column label: say with --label whether the prompts are harmful or harmless.")
    cells = (
        _by_prompt_column(table, langs, lang) if PROMPT in table.columns else _by_language_columns(table, langs, lang)
    )
    prompts = [
        Prompt(
            id=_text(table, number, ID) if ID in table.columns else f"{path.stem}-{number}",
            lang=code,
            label=label or _label(table, number),
            prompt=_text(table, number, column).strip(),
            split=(_text(table, number, "split") or None) if "split" in table.columns else None,
            tags=_tags(table, number),
        )
        for number, code, column in cells
    ]
    refuse_flaws(prompts, path)
    return prompts


def _read(path: Path) -> _Table:
    if not path.is_file():
        raise MissingInputError(f"No file at {path}; expected a table of prompts, .csv or .jsonl.")
    if path.suffix == ".csv":
        rows: list[Mapping[str, Any]] = [*csv_rows(path, (), "a table of prompts")]
    elif path.suffix == ".jsonl":
        rows = json_lines(path, ())
    else:
        raise FormatError(f"{path} is neither .csv nor .jsonl; save the table as one of them.")
    if not rows:
        raise FormatError(f"{path} holds no prompt; expected one JSON object a line.")
    return _Table(path, tuple(dict.fromkeys(column for row in rows for column in row)), rows)


def _by_prompt_column(table: _Table, langs: Sequence[str] | None, lang: str | None) -> list[tuple[int, str, str]]:
    """Row number, language and column of every prompt; the text is in `prompt`."""
    if LANG in table.columns and lang:
        raise ParamsError(
            f"{table.path} has a column lang, so --lang does not go with it; choose languages with --langs."
        )
    if LANG not in table.columns and not lang:
        raise ParamsError(f"{table.path} has no column lang: say with --lang in which language the prompts are.")
    codes = [lang or language(_text(table, number, LANG)).code for number in range(len(table.rows))]
    if missing := [code for code in langs or () if code not in codes]:
        raise FormatError(
            f"{table.path} has no prompt in {', '.join(missing)}; it has {', '.join(sorted(set(codes)))}."
        )
    return [(number, code, PROMPT) for number, code in enumerate(codes) if langs is None or code in langs]


def _by_language_columns(table: _Table, langs: Sequence[str] | None, lang: str | None) -> list[tuple[int, str, str]]:
    """Row number, language and column of every prompt; every language has a column."""
    if lang:
        raise ParamsError(f"--lang goes with a column prompt, which {table.path} lacks; choose columns with --langs.")
    present = [column for column in table.columns if column in LANGUAGES and column != ID]
    columns = ", ".join(table.columns)
    if not present:
        raise FormatError(
            f"{table.path} has neither a column prompt nor one named as a language (en, th, …); its columns are {columns}."
        )
    if missing := [code for code in langs or () if code not in present]:
        raise FormatError(f"{table.path} has no column {', '.join(missing)}; its columns are {columns}.")
    return [(number, code, code) for code in langs or present for number in range(len(table.rows))]


def _text(table: _Table, number: int, column: str) -> str:
    """A cell; a number counts as text in an id, since JSON has numbers."""
    value = table.rows[number].get(column)
    if column == ID and isinstance(value, int):
        return str(value)
    if value is None and column == "split":
        return ""
    if not isinstance(value, str) or (column == ID and not value.strip()):
        raise FormatError(
            f"{table.path} row {number + 1} has no text in the column {column}; write it, or leave the row out."
        )
    return value


def _label(table: _Table, number: int) -> Label:
    value = _text(table, number, LABEL)
    if value not in LABELS:
        raise FormatError(
            f"{table.path} row {number + 1} has the label {value!r}; expected one of {', '.join(LABELS)}."
        )
    return cast("Label", value)


def _tags(table: _Table, number: int) -> tuple[str, ...]:
    """A list, or a list that is written as text, or one word."""
    value = table.rows[number].get("tags") or ()
    if isinstance(value, str) and not value.lstrip().startswith(("[", "(")):
        return (value,)
    return listed(value, table.path)
