"""Unify spellings before text is folded: HTML, apostrophes, letters of another alphabet that look alike, broken lines.

Models write these by accident and attackers on purpose. All functions are pure, and return a text without such spellings as it is.
"""

from __future__ import annotations

import html
import re

_ENTITY = re.compile(r"&(?:#\d{1,6}|#x[0-9a-f]{1,5}|[a-z]{2,8});", re.IGNORECASE)
_TAG = re.compile(r"</?[a-z][a-z0-9]{0,9}(?: [^<>\n]{0,60})?/?>", re.IGNORECASE)
_APOSTROPHES = re.compile("[‘ʼ´‛′ʹʻˈꞌ＇՚]")
_TO_LATIN = str.maketrans(
    dict(zip("авекмнорстухіјѕԁԛԝһӏАВЕКМНОРСТУХІЈЅ", "abekmhopctyxijsdqwhlABEKMHOPCTYXIJS", strict=True))
    | dict(zip("αεικνορτυχΑΒΕΖΗΙΚΜΝΟΡΤΥΧ", "aeikvoptuxABEZHIKMNOPTYX", strict=True))
)
_TO_CYRILLIC = str.maketrans(dict(zip("aceopxyABCEHKMOPTX", "асеорхуАВСЕНКМОРТХ", strict=True)))
_CYRILLIC, _GREEK_OR_CYRILLIC = re.compile("[\u0400-\u04ff]"), re.compile("[\u0370-\u04ff\u0500-\u052f]")
_LATIN = re.compile("[a-zA-Z]")
_MIXED = re.compile(
    "[a-zA-Z]*[\u0400-\u04ff]+[a-zA-Z][a-zA-Z\u0400-\u04ff]*|[a-zA-Z]+[\u0400-\u04ff][a-zA-Z\u0400-\u04ff]*"
)
_BREAK = re.compile(r"\n[ ]?(?=[^\W\d_])")
_SPACED_OUT = re.compile("(?<=[\u0e00-\u0e7f]) (?=[\u0e00-\u0e7f])|(?<=[\u3041-\u9fff]) (?=[\u3041-\u9fff])")
_MOST_SPACED = 5
"""Thai that is spaced out has a space after fewer letters than this, on average."""


def without_html(text: str) -> str:
    """Replace HTML entities by their characters, and tags by spaces."""
    if "&" in text and _ENTITY.search(text):
        text = html.unescape(text)
    return _TAG.sub(" ", text) if "<" in text else text


def with_apostrophes(text: str) -> str:
    """Write every apostrophe, and what is typed in its place, as `'`."""
    return _APOSTROPHES.sub("'", text.replace("’", "'"))


def join_lines(text: str) -> str:
    """Join a line that breaks within a sentence with the next one.

    Such a line ends with a letter or comma, and the next one begins with a letter that is no capital; an empty line, a list,
    and a heading stay.
    """

    def joint(match: re.Match[str]) -> str:
        before = text[text.rfind("\n", 0, match.start()) + 1 : match.start()].rstrip(" ")
        goes_on = before[-1:].isalpha() or before[-1:] == ","
        return " " if goes_on and before[0] not in "#*-•" and not text[match.end()].isupper() else match[0]

    return _BREAK.sub(joint, text) if "\n" in text else text


def latin(text: str, serbian: dict[int, str]) -> str:
    """Write Cyrillic and Greek letters of a Latin text as the Latin letters they look like; a Cyrillic text as `serbian` says."""
    if not _GREEK_OR_CYRILLIC.search(text):
        return text
    if len(_CYRILLIC.findall(text)) > len(_LATIN.findall(text)):
        return text.casefold().translate(serbian)
    return text.translate(_TO_LATIN)


def cyrillic(text: str) -> str:
    """Write the Latin letters inside Cyrillic words as the Cyrillic letters they look like."""
    return _MIXED.sub(lambda word: word[0].translate(_TO_CYRILLIC), text) if _LATIN.search(text) else text


def spaced_out(text: str, script: str) -> str:
    """Remove the spaces between the words of Thai, Chinese or Japanese, if there are so many that they are no punctuation."""
    if script == "Thai" and text.count(" ") * (_MOST_SPACED + 1) < len(text):
        return text
    return _SPACED_OUT.sub("", text)
