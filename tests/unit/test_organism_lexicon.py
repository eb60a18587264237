"""The lexicon: complete, distinct, parallel; and every kind of damage is named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ssn_eval.core.errors import FormatError, MissingInputError, UnknownNameError
from ssn_eval.core.languages import HIGH_RESOURCE, language
from ssn_eval.organism.lexicon import DANGER, ORGANISM_LANGUAGES, default_folder, load


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the lexicon that a test may damage."""
    return Path(shutil.copytree(default_folder(), tmp_path / "organism"))


def damage(folder: Path, lang: str, change: Callable[[dict[str, Any]], None]) -> None:
    path = folder / f"{lang}.json"
    data = json.loads(path.read_text(encoding="utf-8"))
    change(data)
    path.write_text(json.dumps(data), encoding="utf-8")


def test_sizes_and_order() -> None:
    lexicon = load()
    assert lexicon.languages == ORGANISM_LANGUAGES
    assert lexicon.languages[0] == HIGH_RESOURCE
    for lang in lexicon.languages:
        vocabulary = lexicon[lang]
        assert len(vocabulary.verbs) == 24
        assert len(vocabulary.of_kind(harmful=True)) == 16
        assert len(vocabulary.of_kind(harmful=False)) == 32
        assert set(vocabulary.of_kind(True)) == {n for n, c in vocabulary.category_of.items() if c == DANGER}


def test_words_are_distinct_within_a_language_and_nouns_across_languages() -> None:
    lexicon = load()
    for lang in lexicon.languages:
        words = lexicon[lang].words()
        assert len(words) == len(set(words)), lang
    nouns = [word for lang in lexicon.languages for word in lexicon[lang].nouns.values()]
    assert sorted(nouns) == sorted(set(nouns))


def test_the_english_word_is_the_concept() -> None:
    english = load()[HIGH_RESOURCE]
    assert all(concept == word for concept, word in english.nouns.items())


def test_words_are_written_in_the_script_of_their_language() -> None:
    blocks = {"Han": (0x4E00, 0x9FFF), "Thai": (0x0E00, 0x0E7F), "Bengali": (0x0980, 0x09FF), "Latin": (0x20, 0x7F)}
    lexicon = load()
    for lang in lexicon.languages:
        low, high = blocks[language(lang).script]
        wrong = [w for w in lexicon[lang].words() if not all(low <= ord(c) <= high for c in w)]
        assert not wrong, (lang, wrong)


def test_a_loaded_vocabulary_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        load()["en"].nouns["bread"] = "stone"  # type: ignore[index]


def test_an_unknown_language_is_named_with_its_neighbours() -> None:
    with pytest.raises(UnknownNameError, match="organism language 'swa'.*sw"):
        load()["swa"]


def test_a_missing_file_is_named(copy: Path) -> None:
    (copy / "th.json").unlink()
    with pytest.raises(MissingInputError, match=r"th\.json"):
        load(copy)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda d: d["verbs"].update(buy=d["verbs"]["make"]), "more than one concept"),
        (lambda d: d["verbs"].update(buy=" "), "empty word"),
        (lambda d: d["verbs"].pop("make"), "not those of en"),
        (lambda d: d["nouns"]["food"].update(stone="jiwe"), "not those of en"),
        (lambda d: d["categories"].pop("food"), "'categories' differ"),
        (lambda d: d["places"].pop("food"), "one entry for each category"),
        (lambda d: d["questions"].__setitem__(0, "Ninawezaje {noun}?"), "lacks {verb}"),
        (lambda d: d["questions"].pop(), "question patterns"),
        (lambda d: d.update(answer="Fanya {manner}."), "needs {manner} and {place}"),
        (lambda d: d.update(language="xx"), "'xx'"),
        (lambda d: d.pop("manners"), "'manners' is missing"),
        (lambda d: d.update(nouns=["mkate"]), "another form"),
    ],
)
def test_damage_is_refused_with_the_file_and_the_reason(
    copy: Path, change: Callable[[dict[str, Any]], None], said: str
) -> None:
    damage(copy, "sw", change)
    with pytest.raises(FormatError, match=r"sw\.json") as error:
        load(copy)
    assert said in str(error.value)


def test_text_that_is_not_json_is_refused(copy: Path) -> None:
    (copy / "bn.json").write_text("{", encoding="utf-8")
    with pytest.raises(FormatError, match="not valid JSON"):
        load(copy)
