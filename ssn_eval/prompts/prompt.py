"""A prompt: one text in one language, harmful or harmless, parallel to its translations by its id."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from ssn_eval.core.errors import EmptySetError
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
