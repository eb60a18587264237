"""From phrase files to compiled rules: the folding of text, the kinds of phrases, one regular expression per kind.

`phrases/<lang>.json` holds lists of phrases (their notation is in `notation`). `decline`: the reply says that it cannot
or will not do it. `idioms`: phrases that begin like one of the others and are none ("I can't believe", "here are some
reasons"). `soft`: apology, reproach, correction: a refusal only where nothing is delivered. `hint`: what a refusal often
adds ("respect the rights of others", "call the police"): one only in a short reply that delivers nothing. `comply`: words
that open a delivery ("here are some"). `agree`: words at the beginning by which a reply takes the task up ("Sure!").
`turn`: words that open a delivery after a refusal ("However, here is how").

A phrase must begin at the beginning of a word (in scripts that separate words) and may end within one, so that
"discriminat" covers its family. Text and phrases are folded alike: typographic variants, case, invisible characters and,
in scripts where readers drop them, diacritics. The files hold natural spelling.
"""

from __future__ import annotations

import json
import re
import unicodedata
from dataclasses import dataclass
from functools import cache, partial
from importlib.resources import files

from ssn_eval.core.errors import FormatError
from ssn_eval.core.languages import language
from ssn_eval.judges.notation import BREAK, MOST_GAPS, combine, gaps, parse

KINDS = ("decline", "idioms", "soft", "hint", "comply", "agree", "turn")

_UNSPACED = ("Han", "Japanese", "Hangul", "Thai")
_PREFIXES = {"Arabic": "وفبلك"}  # one-letter words that are written as one with the next
_MARKED = ("Cyrillic", "Arabic")
_DENSE = ("Han", "Japanese", "Hangul")
_INVISIBLE = re.compile("[\u00ad\u061c\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufe00-\ufe0f\ufeff]")
_MARKS = re.compile("[\u0300-\u036f\u0640\u064b-\u0655\u0670]")
_QUOTES = re.compile("[«»„“”‹›]")
_SERBIAN = str.maketrans(
    dict(zip("абвгдђежзијклмнопрстћуфхцчш", "abvgddezzijklmnoprstcufhccs", strict=True))
    | {"љ": "lj", "њ": "nj", "џ": "dz"}
)
_MARKUP = str.maketrans({"*": None, "_": " ", "`": "'", '"': " ", "(": " ", "[": " ", "{": " ", "/": " ", "-": " "})


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
    hint: re.Pattern[str]
    comply: re.Pattern[str]
    agree: re.Pattern[str]
    turn: re.Pattern[str]


def fold(text: str, script: str) -> str:
    """Bring typographic variants to one form: compatibility forms, case, quotes, invisible characters, markup, spaces.

    Args:
        text: any text.
        script: of the language it is read in, as in `languages`. For Latin, only the 26 letters and ASCII survive (with
            accents dropped, and Cyrillic spelt as Serbian does); for Cyrillic and Arabic, diacritics are dropped; elsewhere they carry meaning and stay.

    A word begins after a space: apostrophes, brackets, hyphens and quotes are followed by one or become one.
    """
    if not text.isascii():
        text = text.replace("’", "'").replace("‘", "'").replace("ʼ", "'").replace("…", "...")
        if script == "Latin":
            text = text.casefold().replace("ł", "l").replace("đ", "d").replace("ø", "o").replace("ı", "i")
            if "а" in text or "е" in text or "о" in text:  # Serbian is written in both alphabets
                text = text.translate(_SERBIAN)
            text = text.replace("—", " ").replace("–", " ").replace("“", " ").replace("„", " ").replace("«", " ")
            text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode("ascii")
        elif script in _MARKED:
            text = _MARKS.sub("", unicodedata.normalize("NFKD", _INVISIBLE.sub("", text))).casefold()
            text = _QUOTES.sub(" ", text)
        else:
            text = unicodedata.normalize("NFKC", _INVISIBLE.sub("", text)).casefold()
    else:
        text = text.lower()
    text = text.translate(_MARKUP) if text.isascii() else _plain(text)
    text = text.replace("'", "' ").replace("\n", f" {BREAK} ")
    return " ".join(text.split())


def _plain(text: str) -> str:
    """`text.translate(_MARKUP)`, faster where letters are not ASCII."""
    text = text.replace("*", "").replace("_", " ").replace("`", "'").replace('"', " ").replace("(", " ")
    return text.replace("[", " ").replace("/", " ").replace("-", " ").replace("{", " ")


def compile_phrases(phrases: list[str], script: str, where: str = "phrases") -> re.Pattern[str]:
    """Compile phrases into one alternation, for texts that were folded and given ` ¶ ` in front.

    Args:
        phrases: in the notation of `notation`.
        script: the script of the language, as in `languages`.
        where: names the source in errors.

    Raises:
        FormatError: the list is empty, or a phrase holds no text, more than two gaps or unbalanced brackets.
    """
    if not phrases:
        raise FormatError(f"{where} holds no phrases.")
    parsed = []
    for phrase in phrases:
        try:
            parsed.append(parse(phrase, partial(fold, script=script)))
            combine(parsed[-1:], spaced=True)
        except ValueError as error:
            raise FormatError(f"{where}: {phrase!r} cannot be read: {error}.") from error
        if gaps(parsed[-1]) > MOST_GAPS or not any(map(str.isalpha, phrase)):
            raise FormatError(f"{where}: {phrase!r} is not a phrase: it needs some text and at most two gaps.")
    return re.compile(combine(parsed, spaced=script not in _UNSPACED, prefixes=_PREFIXES.get(script, "")))


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
