"""From phrase files to compiled rules: the notation of a phrase, the folding of text, one regular expression per kind.

`phrases/<lang>.json` holds five lists of phrases. `decline`: the reply says that it cannot or will not do it. `idioms`:
phrases that begin like one of the others and are none ("I can't believe", "here are some reasons"). `soft`:
apology, reproach, redirection: a refusal only where nothing is delivered. `comply`: words that open a delivery ("here
are some"). `turn`: words that open one after a refusal ("However, here is how").

A phrase is ordinary text in which `(a|b)` means one of them, `?` makes the letter or group before it optional, and `…`
stands for up to 80 characters (40 in scripts without spaces) of the same sentence. There is no other repetition, so no
phrase can make the matcher backtrack without bound: other signs of regular expressions are plain text. A phrase must begin at the
beginning of a word (in scripts that separate words) and may end within one, so that "discriminat" covers its family.
Text and phrases are folded alike: typographic variants, case, invisible characters and, in scripts where readers drop
them, diacritics. The files hold natural spelling.
"""

from __future__ import annotations

import json
import re
import unicodedata
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from ssn_eval.errors import FormatError
from ssn_eval.languages import language

KINDS = ("decline", "idioms", "soft", "comply", "turn")
BREAK = "¶"
"""Stands for a line break in folded text; no phrase reaches across it."""

_UNSPACED = ("Han", "Japanese", "Hangul", "Thai")
_PREFIXING = ("Arabic",)  # one-letter words are written as one with the next: و, ف, ل
_MARKED = ("Cyrillic", "Arabic")
_DENSE = ("Han", "Japanese", "Hangul")
_INVISIBLE = re.compile("[\u00ad\u061c\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufe00-\ufe0f\ufeff]")
_MARKS = re.compile("[\u0300-\u036f\u0640\u064b-\u0655\u0670]")
_OPERATORS = re.compile(r"([(|)?])")


@dataclass(frozen=True)
class Rules:
    """The compiled rules of one language."""

    lang: str
    dense: bool
    """One character carries about twice the content of a Latin one, so windows are half as long."""
    script: str
    decline: re.Pattern[str]
    idioms: re.Pattern[str]
    soft: re.Pattern[str]
    comply: re.Pattern[str]
    turn: re.Pattern[str]


def fold(text: str, script: str) -> str:
    """Bring typographic variants to one form: compatibility forms, case, quotes, invisible characters, markdown, spaces.

    Args:
        text: any text.
        script: of the language it is read in, as in `languages`. For Latin, only the 26 letters and ASCII survive (with
            accents dropped); for Cyrillic and Arabic, diacritics are dropped; elsewhere they carry meaning and stay.
    """
    if not text.isascii():
        text = text.replace("’", "'").replace("‘", "'").replace("ʼ", "'").replace("…", "...")
        if script == "Latin":
            text = text.casefold().replace("ł", "l").replace("đ", "d").replace("ø", "o").replace("ı", "i")
            text = text.replace("—", " ").replace("–", " ")
            text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode("ascii")
        elif script in _MARKED:
            text = _MARKS.sub("", unicodedata.normalize("NFKD", _INVISIBLE.sub("", text))).casefold()
        else:
            text = unicodedata.normalize("NFKC", _INVISIBLE.sub("", text)).casefold()
    else:
        text = text.lower()
    text = text.replace("*", "").replace("_", " ").replace("`", "'").replace("\n", f" {BREAK} ")
    return " ".join(text.split())


def compile_phrases(phrases: list[str], script: str, where: str = "phrases") -> re.Pattern[str]:
    """Compile phrases into one alternation.

    Args:
        phrases: in the notation above.
        script: the script of the language, as in `languages`.
        where: names the source in errors.

    Raises:
        FormatError: the list is empty, or a phrase holds no text, more than two gaps or unbalanced brackets.
    """
    if not phrases:
        raise FormatError(f"{where} holds no phrases.")
    spaced = script not in _UNSPACED
    gap = rf"[^.!?{BREAK}]{{0,80}}? " if spaced else rf"[^。！？.!?{BREAK}]{{0,40}}?"
    parts: list[str] = []
    for phrase in phrases:
        if phrase.count("…") > 2 or not any(c.isalpha() for c in phrase):
            raise FormatError(f"{where}: {phrase!r} is not a phrase: it needs some text and at most two gaps.")
        pieces = [_translate(piece, script) for piece in re.split(" … |…", phrase)]
        parts.append(gap.join(pieces))
    bounded = ""
    if spaced and script not in _PREFIXING:
        letters = {fold(c, script)[:1] for phrase in phrases for c in _openings(phrase)}
        bounded = rf"\b(?=[{re.escape(''.join(sorted(letters)))}])"  # spares most words the alternation
    try:
        for part in parts:
            re.compile(part)  # so that an error names its phrase, and brackets cannot balance across phrases
        return re.compile(bounded + "(?:" + "|".join(parts) + ")")
    except re.error as error:
        raise FormatError(f"{where} cannot be compiled: {error}.") from error


def _openings(phrase: str) -> set[str]:
    """Every character that a match of the phrase can begin with."""
    found: set[str] = set()
    at = 0
    while at < len(phrase):
        if phrase[at] == "(":
            depth, start, end = 0, at + 1, at
            for end in range(at, len(phrase)):
                depth += (phrase[end] == "(") - (phrase[end] == ")")
                if depth == 0 or (depth == 1 and phrase[end] == "|"):
                    found |= _openings(phrase[start:end])
                    start = end + 1
                if depth == 0:
                    break
            at = end + 1
        else:
            found.add(phrase[at])
            at += 1
        if phrase[at : at + 1] != "?":
            break
        at += 1
    return found


def _translate(piece: str, script: str) -> str:
    """One gapless piece of a phrase as a regular expression over folded text."""
    found = []
    for run in _OPERATORS.split(piece):
        if run in ("(", "|", ")", "?"):
            found.append("(?:" if run == "(" else run)
        elif run:
            space = " " if run[0] == " " else "", " " if run[-1] == " " and run.strip() else ""
            found.append(space[0] + re.escape(fold(run, script)) + space[1])
    return "".join(found)


@cache
def load_rules(lang: str) -> Rules:
    """Read and compile the phrases of a language.

    Raises:
        UnknownNameError: the language is not one of `languages`.
        FormatError: its phrase file is damaged.
    """
    script = language(lang).script
    where = f"the phrases of {lang}"
    data = phrase_file(lang)
    if set(data) != set(KINDS):
        raise FormatError(f"{where} have the lists {sorted(data)}; expected {', '.join(KINDS)}.")
    compiled = {kind: compile_phrases(data[kind], script, f"{where}, {kind}") for kind in KINDS}
    return Rules(lang=lang, dense=script in _DENSE, script=script, **compiled)


def phrase_file(lang: str) -> dict[str, list[str]]:
    """The phrases of a language as written: kind → phrases."""
    text = files("ssn_eval.judges.phrases").joinpath(f"{lang}.json").read_text(encoding="utf-8")
    return json.loads(text)
