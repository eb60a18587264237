"""The notation of phrases, their folding, and the health of every phrase file."""

from __future__ import annotations

import re

import pytest

from ssn_eval.core.errors import FormatError, UnknownNameError
from ssn_eval.core.languages import LANGUAGES
from ssn_eval.judges.notation import BREAK, derive, parse
from ssn_eval.judges.rules import KINDS, compile_phrases, fold, load_rules, phrase_file


def found(phrases: list[str], script: str, text: str) -> bool:
    """Is one of the phrases in a text, folded and begun as the judge does it?"""
    return bool(compile_phrases(phrases, script).search(f" {BREAK} {fold(text, script)}"))


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
    rule = ["i (can't|won't) (really )?help", "ich kann … nicht", "colou?r", "je (ne|n') ?ai pas"]
    for text in (
        "i can't help",
        "I won't really help",
        "ich kann nicht",
        "ich kann dir nicht",
        "color",
        "colour",
        "“I can’t help”",
        "(colour)",
        "je n’ai pas",
    ):
        assert found(rule, "Latin", text), text
    for text in ("i can help", "ich kann. nicht", "ich kann " + "x" * 90 + " nicht", "ich kannicht", "discolor"):
        assert not found(rule, "Latin", text), text


def test_a_gap_stays_in_its_sentence_in_scripts_without_spaces() -> None:
    assert found(["我…不能"], "Han", "我现在不能")
    assert not found(["我…不能"], "Han", "我在。你不能")


def test_a_phrase_may_be_bound_to_the_beginning_of_a_line() -> None:
    for text in ("Sure, here it is", "Well.\nSure!", "  **Sure**"):
        assert found(["^sure"], "Latin", text), text
    assert not found(["^sure"], "Latin", "I am sure")
    assert found(["^もちろん"], "Japanese", "もちろんです") and not found(["^もちろん"], "Japanese", "それはもちろん")


def test_arabic_words_may_be_prefixed() -> None:
    assert found(["لا يمكنني"], "Arabic", "ولا يمكنني")


def test_serbian_is_read_in_both_alphabets() -> None:
    assert found(["ne mogu"], "Latin", "Не могу")
    assert fold("Љубичаста џунгла", "Latin") == "ljubicasta dzungla"


def test_every_regular_expression_character_is_text() -> None:
    assert found(["a.b+c[d]"], "Latin", "a.b+c[d]")
    assert not found(["a.b+c[d]"], "Latin", "axbbcd")


def test_phrases_are_sorted_by_their_first_letter() -> None:
    phrases = [parse(text, str) for text in ("(ab|cd)e", "b?ad")]
    assert {char: len(rests) for char, rests in derive(phrases).items()} == {"a": 2, "c": 1, "b": 1}


@pytest.mark.parametrize("bad", [[], [""], ["…"], ["(a"], ["a)(b"], ["?a"], ["a …"], ["(|a)"], ["a … b … c … d"]])
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
    assert fold("step-by-step (l'été)", "Latin") == "step by step l' ete)"
    assert fold("لَا أَسْتَطِيعُ", "Arabic") == fold("لا أستطيع", "Arabic")
    assert fold("ทำ\u200b", "Thai") == fold("ทำ", "Thai")
    assert fold("ＡＢＣ！", "Han") == "abc!"
