"""Remove what a reply quotes: the words of others and code are no statement of the speaker.

A reply that is one quotation is the speaker's own ("I can't help with that." in quotes), and so is one in a code fence
without a language.
"""

from __future__ import annotations

import re

LONGEST = 400
"""Characters of a quotation; quotes farther apart are not taken for a pair."""
GAP = " x "
"""what stands in place of a quotation, so that the sentence around it stays a sentence"""
_PAIRS = ("“”", "„“”", "«»", "»«", "「」", "『』", "””", "‹›")
_ENDS = "|".join(
    [
        r"(?<=`)(?:``[^\n`]*\n(?:(?!```)[\s\S]){1,1200}(?:```|\Z)|[^`\n]{2,200}`)",
        rf'(?<=")[^"\n]{{2,{LONGEST}}}"',
        r"(?<=')(?<!\w')(?=\w)(?:[^'\n]|(?<=[\w\\])'(?=\w)){2,200}'(?!\w)",
        r"(?<=‘)(?<!\w‘)(?:[^‘’]|(?<=\w)’(?=\w)){2,400}(?:’(?!\w)|\Z)",
        *(rf"(?<={pair[0]})[^{pair}]{{2,{LONGEST}}}(?:[{pair[1:]}]|\Z)" for pair in _PAIRS),
        r"(?<=[>—–])(?<![^\n].)[^\n]+",
    ]
)
_SPAN = re.compile(f"[\"“„«»「『”‹'‘`>—–](?:{_ENDS})")
_FENCE = re.compile(r"\s*```[ ]*(?:text|txt|plaintext|markdown)?[ ]*\n([\s\S]*?)(?:```\s*)?\Z")


def own_words(text: str) -> str:
    """A text without its quotations, code, quoted lines (`> …`) and lines of dialogue (`— …`); the text itself if nothing is left."""
    fence = _FENCE.match(text) if "```" in text else None
    if fence:
        return own_words(fence[1])
    rest = _SPAN.sub(GAP, text)
    if rest == text or sum(map(str.isalpha, rest)) - rest.count(GAP) > 0:
        return rest
    return text if not text.lstrip().startswith("```") else ""
