"""A benchmark: its languages, its files, and their reader.

Also the three file forms that sources share. Nothing here reads a network or an environment variable.
"""

from __future__ import annotations

import ast
import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ssn_eval.core import files
from ssn_eval.core.errors import FormatError
from ssn_eval.prompts.benchmarks.pins import Pin, pins
from ssn_eval.prompts.prompt import Label, Prompt

Split = str | None
"""A part of a benchmark, such as `train` or `test`; None where the benchmark has no parts."""


def _last_part(path: str) -> str:
    return Path(path).name


def _nowhere(_lang: str, _label: Label) -> bool:
    return False


@dataclass(frozen=True)
class Source:
    """One benchmark: its files and their reader. Where the files come from is in the table of `pins`."""

    name: str
    """As tasks call it; `<name>.jsonl` is a local copy in the project's own form."""
    languages: tuple[str, ...]
    files: Callable[[str, Label, Split], tuple[str, ...]]
    """(language, label, split) → the file in the repository, then other names that a file in a local folder may have; the pinned table lists the first."""
    read: Callable[[Path, str, Label, Split], list[Prompt]]
    """(file, language, label, split) → its prompts in file order."""
    local: str
    """A local copy in the source's own form: the file's name, or the name of a folder of such files."""
    labels: tuple[Label, ...] = ("harmful",)
    parallel: bool = True
    """A local copy in which a language has other ids than English is refused."""
    alone: Callable[[str, Label], bool] = _nowhere
    """Prompts in this language and label translate no others: `-<language>` is added to their ids."""
    splits: Mapping[Label, tuple[Split, ...]] = field(default_factory=dict)
    """Label → every split that the pipeline reads; a label that is absent has no splits."""
    evaluated: Mapping[Label, tuple[Split, ...]] = field(default_factory=dict)
    """Label → the split that is evaluated, then those that take its place in a `<name>.jsonl` without it; absent as above."""
    whole: bool = False
    """All splits are evaluated together."""
    is_training: bool = False
    """No benchmark but prompts with responses to train on; it has no task."""
    local_file: Callable[[str], str] = _last_part
    """A file of the repository → its name in a folder of local copies and in the cache."""

    def evaluated_splits(self, label: Label) -> tuple[Split, ...]:
        """The splits of a label that are evaluated, of the source's own files."""
        return self.splits.get(label, (None,)) if self.whole else self.evaluated.get(label, (None,))[:1]

    @property
    def pin(self) -> Pin:
        """The source on the network: repository, commit, licence, and the content of every file."""
        return pins()[self.name]


def csv_rows(path: Path, columns: Iterable[str], form: str = "the CSV that was expected") -> list[dict[str, str]]:
    """The rows of a CSV file with a header, at least one.

    Args:
        path: the file.
        columns: what the header must have.
        form: what a message calls the file.

    Raises:
        FormatError: it is no CSV, a column is missing or doubled, or a row has more or fewer cells than the header.
    """
    try:
        text = io.StringIO(files.read_text(path, "a CSV file"), newline="")
        header, *lines = list(csv.reader(text, strict=True)) or [[]]
    except csv.Error as error:
        raise FormatError(f"{path} is not {form}: {error}.") from error
    if missing := [c for c in columns if c not in header]:
        raise FormatError(f"{path} is not {form}: its header lacks {', '.join(missing)}.")
    if twice := [c for c in header if header.count(c) > 1]:
        raise FormatError(f"{path} is not {form}: its header has the column {twice[0]!r} twice.")
    for number, cells in enumerate(lines, 1):
        if cells and len(cells) != len(header):
            raise FormatError(
                f"{path} is not {form}: its row {number} has {len(cells)} cells, and the header {len(header)}."
            )
    rows = [dict(zip(header, cells, strict=True)) for cells in lines if cells]
    if not rows:
        raise FormatError(f"{path} is not {form}: it has a header and no row.")
    return rows


def json_value(path: Path) -> Any:
    """The value of a JSON file.

    Raises:
        FormatError: it is no JSON.
    """
    return files.read_json(path, "a prompt file")


def json_lines(path: Path, columns: Iterable[str]) -> list[Mapping[str, Any]]:
    """The objects of a JSONL file.

    Raises:
        FormatError: a line is no object with these columns.
    """
    rows: list[Mapping[str, Any]] = []
    for number, line in enumerate(files.read_text(path, "a prompt file").split("\n"), 1):
        if not line.strip():
            continue
        row = files.parse_json(line, f"{path} line {number}", "a prompt")
        if not isinstance(row, Mapping) or not set(columns) <= set(row):
            raise FormatError(f"{path} line {number} is not an object with {', '.join(columns)}.")
        rows.append(row)
    return rows


def listed(value: str | Sequence[str] | None, place: Path) -> tuple[str, ...]:
    """A list of names, which CSV and JSONL files hold as text: `"['a', 'b']"` → `("a", "b")`.

    Raises:
        FormatError: the text is no list.
    """
    try:
        parsed = ast.literal_eval(value) if isinstance(value, str) else value or ()
    except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
        raise FormatError(f"{place} has categories that are not a list: {str(value)[:60]!r}.") from error
    return (parsed,) if isinstance(parsed, str) else tuple(map(str, parsed))
