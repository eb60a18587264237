"""Which language is a reply in? A safe answer in another language than the question's is not the same thing as one in it.

py3langid (naive Bayes over byte n-grams, 139 languages, its model inside the package) chooses among this project's
languages and "no language". It was chosen by measurement, and so were the two constants: docs/decisions/0003. A reply
that is too short, or that the identifier is not sure of, has no language (None), and is never counted as another one.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

from ssn_eval.core.languages import LANGUAGES

if TYPE_CHECKING:
    from py3langid.langid import LanguageIdentifier

CERTAIN = 0.8
"""The least probability that names a language: no real prompt out of 8,043 was then taken for another language."""
READ = 300
"""Characters of a reply that are read: more change no name and cost time."""
_NOT_A_LANGUAGE = "zxx"


def reply_languages(replies: Sequence[str]) -> list[str | None]:
    """The language of each reply by its code, None where it is not certain; about 10,000 replies a second."""
    if not replies:
        return []
    identify = _identifier().classify
    found = (identify(" ".join(reply[: 2 * READ].split())[:READ]) for reply in replies)
    return [lang if certainty >= CERTAIN and lang != _NOT_A_LANGUAGE else None for lang, certainty in found]


@cache
def _identifier() -> LanguageIdentifier:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    identifier.set_languages([*LANGUAGES.keys() & set(identifier.labels), _NOT_A_LANGUAGE])
    return identifier
