"""The notation of a phrase, and how many phrases become one fast regular expression.

A phrase is ordinary text in which `(a|b)` means one of them, `?` makes the letter or group before it optional, `…`
stands for up to 80 characters (40 in scripts without spaces) of the same sentence, and `^` in front for the beginning of
a line. There is no other repetition, so no phrase can make the matcher backtrack without bound: other signs of regular
expressions are plain text.

The alternatives are sorted by their first letter (`derive`), and every phrase of a script with spaces begins with the
space before its first word. So the matcher leaps from space to space and tries, at each, only the phrases that begin
with the letter it finds: a hundred more phrases cost next to nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

BREAK = "¶"
"""Stands for a line break in folded text; no phrase reaches across it."""
MOST_GAPS = 2
_OPERATORS = re.compile(r"([(|)?…])")
_STOPS = ".!?؟।。" + BREAK


@dataclass(frozen=True)
class Choice:
    """One of several sequences; an empty one makes the choice optional."""

    options: tuple[Sequence_, ...]


Item = str | Choice
"""One character of folded text, `…` for a gap, or a choice."""
Sequence_ = tuple[Item, ...]
Fold = Callable[[str], str]


def parse(phrase: str, fold: Fold) -> Sequence_:
    """Read a phrase.

    Args:
        phrase: in the notation above.
        fold: brings a run of plain text to the form that texts are searched in.

    Raises:
        ValueError: brackets do not balance, or `?` or `…` stand where they mean nothing.
    """
    line_start = phrase.startswith("^")
    tokens = [token for token in _OPERATORS.split(phrase.removeprefix("^").replace(" … ", "…")) if token]
    options, rest = _options(tokens, fold)
    if rest:
        raise ValueError("a bracket is closed that was never opened")
    found: Sequence_ = options[0] if len(options) == 1 else (Choice(options),)
    if not found or found[0] == "…" or found[-1] == "…":
        raise ValueError("it begins or ends with nothing")
    return (*f"{BREAK} ", *found) if line_start else found


def _options(tokens: Sequence[str], fold: Fold) -> tuple[tuple[Sequence_, ...], Sequence[str]]:
    """The alternatives up to the closing bracket or the end, and the tokens from there on."""
    options: list[Sequence_] = []
    current: list[Item] = []
    while tokens and tokens[0] != ")":
        token, tokens = tokens[0], tokens[1:]
        if token == "|":
            options.append(tuple(current))
            current = []
        elif token == "(":
            inner, tokens = _options(tokens, fold)
            if not tokens:
                raise ValueError("a bracket is never closed")
            current.append(Choice(inner))
            tokens = tokens[1:]
        elif token == "?":
            if not current or current[-1] == "…":
                raise ValueError("a question mark follows nothing")
            last = current.pop()
            current.append(Choice((*(last.options if isinstance(last, Choice) else ((last,),)), ())))
        elif token == "…":
            current.append(token)
        else:
            current.extend(_run(token, fold))
    return (*options, tuple(current)), tokens


def _run(text: str, fold: Fold) -> str:
    """Plain text, folded as it is inside a text, so that spaces at its ends are kept."""
    return fold(f"x{text}x")[1:-1]


def derive(phrases: Sequence[Sequence_]) -> dict[str, list[Sequence_]]:
    """What may follow each first character: character → the rests of the phrases that begin with it.

    Raises:
        ValueError: a phrase may be empty, or begin with a gap.
    """
    found: dict[str, list[Sequence_]] = {}
    for phrase in phrases:
        if not phrase or phrase[0] == "…":
            raise ValueError("it may begin with nothing")
        first, rest = phrase[0], phrase[1:]
        if isinstance(first, Choice):
            for char, rests in derive([(*option, *rest) for option in first.options]).items():
                found.setdefault(char, []).extend(rests)
        else:
            found.setdefault(first, []).append(rest)
    return found


def emit(phrase: Sequence_, gap: str) -> str:
    """A phrase as the source of a regular expression."""
    return "".join(
        "(?:" + "|".join(emit(option, gap) for option in item.options) + ")"
        if isinstance(item, Choice)
        else gap
        if item == "…"
        else re.escape(item)
        for item in phrase
    )


def combine(phrases: Sequence[Sequence_], *, spaced: bool, prefixes: str = "") -> str:
    """Many phrases as one regular expression.

    Args:
        phrases: parsed.
        spaced: words are separated by spaces, and a phrase begins at the beginning of one.
        prefixes: letters that may be written as one with the word after them.
    """
    gap = f"[^{_STOPS}]{{0,80}}? " if spaced else f"[^{_STOPS}]{{0,40}}?"
    branches = []
    for char, rests in derive(phrases).items():
        endings = "|".join(dict.fromkeys(emit(rest, gap) for rest in rests))
        branches.append(f"{re.escape(char)}(?:{endings})")
    alternatives = "(?:" + "|".join(branches) + ")"
    if not spaced:
        return alternatives
    return " " + (f"[{prefixes}]?" if prefixes else "") + alternatives


def gaps(phrase: Sequence_) -> int:
    """The most gaps that one reading of a phrase holds."""
    return sum(max(map(gaps, item.options)) if isinstance(item, Choice) else int(item == "…") for item in phrase)
