"""The table of languages: codes, tiers, and the look-up errors."""

from __future__ import annotations

import dataclasses

import pytest

from ssn_eval.core.errors import UnknownNameError
from ssn_eval.core.languages import HIGH_RESOURCE, LANGUAGES, TIERS, by_tier, language

NEEDED = [
    "en",
    "zh",
    "it",
    "vi",
    "ar",
    "ko",
    "th",
    "bn",
    "sw",
    "jv",
    "de",
    "es",
    "fr",
    "ja",
    "nl",
    "pl",
    "pt",
    "ru",
    "hi",
    "yo",
    "tr",
    "id",
    "af",
    "ne",
    "sr",
    "tl",
    "hu",
    "cs",
    "sv",
    "ms",
]


def test_every_needed_language_is_there_once() -> None:
    assert set(NEEDED) <= set(LANGUAGES)
    assert all(code == entry.code for code, entry in LANGUAGES.items())
    assert len({entry.name for entry in LANGUAGES.values()}) == len(LANGUAGES)


def test_refusals_are_written_and_differ() -> None:
    refusals = [entry.refusal for entry in LANGUAGES.values()]
    assert all(len(refusal) >= 10 for refusal in refusals)
    assert len(set(refusals)) == len(refusals)


@pytest.mark.parametrize(
    ("tier", "codes"), [("HR", ["en", "zh", "it", "vi"]), ("MR", ["ar", "ko", "th"]), ("LR", ["bn", "sw", "jv"])]
)
def test_multijails_tiers_are_its_own(tier: str, codes: list[str]) -> None:
    assert [language(code).tier for code in codes] == [tier] * len(codes)


def test_the_reference_language_is_high_resource() -> None:
    assert language(HIGH_RESOURCE).tier == "HR"


def test_by_tier_keeps_the_order_and_leaves_out_empty_tiers() -> None:
    assert by_tier(["th", "sw", "en", "bn"]) == {"HR": ["en"], "MR": ["th"], "LR": ["sw", "bn"]}
    assert list(by_tier(LANGUAGES)) == list(TIERS)
    assert by_tier(["jv"]) == {"LR": ["jv"]}
    assert by_tier([]) == {}


def test_an_unknown_code_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="language 'thx'. Did you mean th"):
        language("thx")
    with pytest.raises(UnknownNameError):
        by_tier(["en", "xx"])


def test_entries_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        language("en").name = "x"  # type: ignore[misc]
    with pytest.raises(TypeError):
        LANGUAGES["xx"] = language("en")  # type: ignore[index]
