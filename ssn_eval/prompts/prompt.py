"""A prompt: one text in one language, harmful or harmless, parallel to its translations by its id."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from ssn_eval.core.errors import EmptySetError, FormatError
from ssn_eval.core.languages import language

Label = Literal["harmful", "harmless"]
LABELS: tuple[Label, ...] = ("harmful", "harmless")


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


def select_prompts(prompts: Iterable[Prompt], *, lang: str, label: Label, split: str | None = None) -> list[Prompt]:
    """The prompts of one language and label (and split, if one is named), in file order.

    Raises:
        UnknownNameError: the language is not known.
        EmptySetError: nothing fits; the message names what the file holds.
    """
    language(lang)
    prompts = list(prompts)
    selected = [p for p in prompts if p.lang == lang and p.label == label and (split is None or p.split == split)]
    if not selected:
        present = sorted({f"{p.lang}/{p.label}" + (f"/{p.split}" if p.split else "") for p in prompts})
        query = f"{lang}/{label}" + (f"/{split}" if split else "")
        raise EmptySetError(
            f"No {query} prompts (language/label) were found; the prompt set holds {', '.join(present)}."
        )
    return selected


def refuse_flaws(prompts: Iterable[Prompt], place: object) -> None:
    """Stop if a prompt has no text, or if an id comes twice in a language.

    Every reader of prompts calls this: of JSONL files, of benchmarks, and of tables.

    Args:
        prompts: of any languages.
        place: the file or folder that they were read from, for the message.

    Raises:
        FormatError: names the id and the language.
    """
    keys: set[tuple[str, str]] = set()
    for prompt in prompts:
        if not prompt.prompt.strip():
            raise FormatError(
                f"{place} has no text for the id {prompt.id!r} in {prompt.lang}; write the prompt, or leave the id out."
            )
        if (prompt.id, prompt.lang) in keys:
            raise FormatError(
                f"{place} holds the id {prompt.id!r} twice in {prompt.lang}; ids must be unique in a language."
            )
        keys.add((prompt.id, prompt.lang))
