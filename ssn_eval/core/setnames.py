"""The name of a neuron set, as in `validate.sets`, in results and in file names: `ss`, `private/th`, `private_th.random_0`, `random_0`."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ssn_eval.core.languages import LANGUAGES

SETS = ("ms_hr", "ss", "private")
"""the named sets that `select` always writes, besides the sets per language and the random controls of SS"""
DIRECTION = "direction"
"""the refusal direction, which stands beside the sets in validation; its ops begin with this word and a colon"""
FAMILIES = ("ms", "ss", "private")
"""sets of every NHR language: MS_l, SS_l = MS_l & MS_HR, MS_l - MS_HR"""
_LABELS = {"ms_hr": "MS of HR", "ss": "SS", "private": "private"}
_FAMILY_LABELS = {"ms": "MS", "ss": "SS", "private": "private"}
_RANDOM = re.compile(r"random_(\d+)")
_CONTROL = re.compile(r"([^.]+)\.random_(\d+)")


@dataclass(frozen=True)
class SetName:
    """A named set, a preset, a set of one language, or the matched random control of one of them."""

    base: str
    """the set itself, or the set that a control is matched to; empty in `random_<seed>`, the short form for SS"""
    seed: int | None = None
    """the seed of a matched random control"""

    @classmethod
    def parse(cls, text: str) -> SetName:
        """Read a name; `<set>.random_<seed>` and `random_<seed>` are controls, everything else is a set itself."""
        if match := _RANDOM.fullmatch(text):
            return cls("", int(match[1]))
        if match := _CONTROL.fullmatch(text):
            return cls(match[1], int(match[2]))
        return cls(text)

    def __str__(self) -> str:
        draw = "" if self.seed is None else f"random_{self.seed}"
        return f"{self.base}.{draw}" if self.base and draw else self.base or draw

    @property
    def of(self) -> str:
        """The set itself, or the set that a control is matched to."""
        return self.base or "ss"

    @property
    def is_control(self) -> bool:
        """Whether it is a matched random control."""
        return self.seed is not None

    @property
    def language(self) -> str | None:
        """The language of `<family>/<language>` or `<family>_<language>`; None for every other set."""
        return self._family_and_language()[1]

    @property
    def may_be_missing(self) -> bool:
        """Whether the set may be empty or absent: the sets that `select` always writes, and the controls of SS."""
        return str(self) in SETS or "/" in self.base or not self.base

    @property
    def label(self) -> str:
        """The name for readers: `ms_th.random_0` → `MS of th, random 0`."""
        family, lang = self._family_and_language()
        plain = _LABELS.get(self.base) or (
            f"{_FAMILY_LABELS[family]} of {lang}" if lang else self.base.replace("_", " ")
        )
        draw = "" if self.seed is None else f"random {self.seed}"
        return f"{plain}, {draw}" if plain and draw else plain or draw

    def _family_and_language(self) -> tuple[str, str | None]:
        family, _, lang = self.base.replace("/", "_").partition("_")
        known = self.base not in SETS and family in FAMILIES and lang in LANGUAGES
        return family, lang if known else None
