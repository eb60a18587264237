"""The notation of phrases, their folding, and the health of every phrase file."""

from __future__ import annotations

import re

import pytest

from ssn_eval.errors import FormatError, UnknownNameError
from ssn_eval.judges.rules import KINDS, compile_phrases, fold, load_rules, phrase_file
from ssn_eval.languages import LANGUAGES


@pytest.mark.parametrize("lang", LANGUAGES)
def test_no_language_has_an_empty_list(lang: str) -> None:
    phrases = phrase_file(lang)
    assert set(phrases) == set(KINDS)
    assert all(phrases[kind] for kind in KINDS)
    assert len(phrases["decline"]) >= 3
    assert load_rules(lang).lang == lang


@pytest.mark.parametrize("lang", LANGUAGES)
def test_no_phrase_matches_the_empty_text(lang: str) -> None:
    rules = load_rules(lang)
    assert not any(getattr(rules, kind).search("") for kind in KINDS)


def test_there_are_no_rules_for_an_unknown_language() -> None:
    with pytest.raises(UnknownNameError, match="language"):
        load_rules("xx")


def test_alternatives_options_and_gaps() -> None:
    rule = compile_phrases(["i (can't|won't) (really )?help", "ich kann … nicht", "colou?r"], "Latin")
    for text in ("i can't help", "i won't really help", "ich kann nicht", "ich kann dir nicht", "color", "colour"):
        assert rule.search(text), text
    for text in ("i can help", "ich kann. nicht", "ich kann " + "x" * 90 + " nicht", "ich kannicht", "discolor"):
        assert not rule.search(text), text


def test_a_gap_stays_in_its_sentence_in_scripts_without_spaces() -> None:
    rule = compile_phrases(["我…不能"], "Han")
    assert rule.search("我现在不能") and not rule.search("我在。你不能")


def test_arabic_words_may_be_prefixed() -> None:
    assert compile_phrases(["لا يمكنني"], "Arabic").search("ولا يمكنني")


def test_every_regular_expression_character_is_text() -> None:
    rule = compile_phrases(["a.b+c[d]"], "Latin")
    assert rule.search("a.b+c[d]")
    assert not rule.search("axbbcd")


@pytest.mark.parametrize("bad", [[], [""], ["…"], ["(a"], ["a)(b"], ["a … b … c … d"]])
def test_a_damaged_phrase_is_named(bad: list[str]) -> None:
    with pytest.raises(FormatError, match="the phrases of xx"):
        compile_phrases(bad, "Latin", "the phrases of xx")


def test_only_the_bounded_gap_repeats() -> None:
    for lang in LANGUAGES:
        for kind in KINDS:
            source = re.sub(r"\\.", "", getattr(load_rules(lang), kind).pattern)
            source = re.sub(r"\[[^\]]*\]\{0,(80|40)\}\?|\(\?[:=]|\[[^\]]*\]", "", source)
            assert not re.search(r"[*+{]", source), (lang, kind)


def test_folding() -> None:
    assert fold("  Ça  VA\n“bien”…", "Latin").startswith("ca va ¶")
    assert fold("İstanbul ILIK Łódź đó ß", "Latin") == "istanbul ilik lodz do ss"
    assert fold("Ещё", "Cyrillic") == "еще"
    assert fold("لَا أَسْتَطِيعُ", "Arabic") == fold("لا أستطيع", "Arabic")
    assert fold("ทำ\u200b", "Thai") == fold("ทำ", "Thai")
    assert fold("ＡＢＣ！", "Han") == "abc!"
