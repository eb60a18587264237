"""Prompt files in the project's own form: JSONL, one object a line.

`{"id", "lang", "label": "harmful"|"harmless", "prompt"}`, with `split`, `tags` and `response` optional. The same `id` in
another language is the translation. Nothing in a file is executed or guessed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from ssn_eval.core import files
from ssn_eval.core.errors import EmptySetError, FormatError, MissingInputError
from ssn_eval.core.languages import language
from ssn_eval.prompts.prompt import LABELS, Prompt, refuse_flaws


def read_jsonl(path: Path) -> list[Prompt]:
    """Read a prompt file.

    Raises:
        MissingInputError: there is no such file.
        FormatError: a line is not a prompt, a prompt has no text, or a language has an id twice; the message names the line or the id.
        EmptySetError: the file holds no prompt.
    """
    if not path.is_file():
        raise MissingInputError(f"There is no prompt file at {path}; expected JSONL with id, lang, label and prompt.")
    lines = files.read_text(path, "a prompt file").split("\n")
    prompts = [_parse(line, f"{path} line {number}") for number, line in enumerate(lines, 1) if line.strip()]
    if not prompts:
        raise EmptySetError(f"{path} holds no prompt; expected one JSON object a line.")
    refuse_flaws(prompts, path)
    return prompts


def write_jsonl(path: Path, prompts: Iterable[Prompt]) -> None:
    """Write a prompt file, whole or not at all."""
    files.write_text(path, "".join(json.dumps(p.to_json(), ensure_ascii=False) + "\n" for p in prompts))


def _parse(line: str, place: str) -> Prompt:
    row = files.parse_json(line, place, "a prompt")
    if not isinstance(row, Mapping) or not all(isinstance(row.get(k), str) for k in ("id", "lang", "label", "prompt")):
        raise FormatError(
            f"{place} is not a prompt; expected an object with the texts id, lang, label and prompt "
            "(of a table of your own, `ssn data add` makes such a file)."
        )
    if row["label"] not in LABELS:
        raise FormatError(f"{place} has the label {row['label']!r}; expected one of {', '.join(LABELS)}.")
    language(row["lang"])
    tags = row.get("tags") or ()
    split, response = row.get("split"), row.get("response")
    if not isinstance(tags, (list, tuple)) or not all(isinstance(v, (str, type(None))) for v in (split, response)):
        raise FormatError(f"{place} has a split or response that is no text, or tags that are no list.")
    return Prompt(row["id"], row["lang"], row["label"], row["prompt"], split, tuple(map(str, tags)), response)
