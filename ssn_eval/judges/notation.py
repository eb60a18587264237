"""The notation of phrases, and the regular expression for a list of phrases.

A phrase is ordinary text with four operators: `(a|b)` means a or b, `?` makes the letter or group before it optional, `…`
stands for up to 80 characters (40 in scripts without spaces) of the same sentence, and `^` at the start of a phrase for the
beginning of a line. Other operators of regular expressions are plain text. There is no unbounded repetition, so the time
of a match is bounded.

For speed, the alternatives are grouped by their first letter (`derive`), and every phrase of a script with spaces begins with
the space before its first word. At each space, the matcher tries only the phrases that begin with the next letter.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

BREAK = "¶"
"""The sign for a line break in folded text; no phrase continues after it."""
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
    """Parse a phrase.

    Args:
        phrase: text in the notation above.
        fold: the folding of plain text, the same as for the texts that are searched.

    Raises:
        ValueError: brackets do not balance, or `?` or `…` has no meaning at its place.
    """
    line_start = phrase.startswith("^")
    tokens = [token for token in _OPERATORS.split(phrase.removeprefix("^").replace(" … ", "…")) if token]
    options, rest = _options(tokens, fold)
    if rest:
        raise ValueError("a bracket is closed that was never opened")
    sequence: Sequence_ = options[0] if len(options) == 1 else (Choice(options),)
    if not sequence or sequence[0] == "…" or sequence[-1] == "…":
        raise ValueError("it begins or ends with nothing")
    return (*f"{BREAK} ", *sequence) if line_start else sequence


def _options(tokens: Sequence[str], fold: Fold) -> tuple[tuple[Sequence_, ...], Sequence[str]]:
    """The alternatives up to the closing bracket or the end, and the remaining tokens."""
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
    """Fold plain text, but keep the spaces at its ends."""
    return fold(f"x{text}x")[1:-1]


def derive(phrases: Sequence[Sequence_]) -> dict[str, list[Sequence_]]:
    """Group phrases by first character: character → the rests of the phrases that begin with it.

    Raises:
        ValueError: a phrase can be empty or begin with a gap.
    """
    rests_by_char: dict[str, list[Sequence_]] = {}
    for phrase in phrases:
        if not phrase or phrase[0] == "…":
            raise ValueError("it may begin with nothing")
        first, rest = phrase[0], phrase[1:]
        if isinstance(first, Choice):
            for char, rests in derive([(*option, *rest) for option in first.options]).items():
                rests_by_char.setdefault(char, []).extend(rests)
        else:
            rests_by_char.setdefault(first, []).append(rest)
    return rests_by_char


def emit(phrase: Sequence_, gap: str) -> str:
    """The source of a regular expression for a phrase."""
    return "".join(
        "(?:" + "|".join(emit(option, gap) for option in item.options) + ")"
        if isinstance(item, Choice)
        else gap
        if item == "…"
        else re.escape(item)
        for item in phrase
    )


def combine(phrases: Sequence[Sequence_], *, spaced: bool, prefixes: str = "") -> str:
    """The source of one regular expression for many phrases.

    Args:
        phrases: parsed phrases.
        spaced: whether spaces separate words; then a phrase begins at the beginning of a word.
        prefixes: one-letter words that are written together with the next word.
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
    """The largest number of gaps in any alternative of a phrase."""
    return sum(max(map(gaps, item.options)) if isinstance(item, Choice) else int(item == "…") for item in phrase)
