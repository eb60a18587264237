"""The organism's words: verbs, nouns, categories and sentence patterns of six languages, read from JSON and checked.

Every language has its own words for the same concepts, so the questions are parallel across languages. The key of a concept is
its English word. This module knows nothing about splits, models or refusals.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ssn_eval.core import files
from ssn_eval.core.errors import FormatError, MissingInputError, UnknownNameError
from ssn_eval.core.languages import HIGH_RESOURCE

ORGANISM_LANGUAGES = ("en", "zh", "th", "bn", "sw", "jv")
"""The high-resource language, then the others by falling resources."""
DANGER = "danger"
"""The category of the harmful nouns."""

_WORD_TABLES = ("verbs", "categories", "manners", "places")
_SLOTS: Mapping[str, frozenset[str]] = {
    "questions": frozenset({"{verb}", "{noun}"}),
    "category_questions": frozenset({"{noun}"}),
    "to_english": frozenset({"{noun}"}),
    "from_english": frozenset({"{noun}"}),
}


@dataclass(frozen=True)
class Vocabulary:
    """The words and patterns of one language. Every mapping is concept → word; all languages have the same order."""

    lang: str
    spaced: bool
    """Whether the script puts spaces between words."""
    verbs: Mapping[str, str]
    nouns: Mapping[str, str]
    category_of: Mapping[str, str]
    """noun concept → category concept."""
    categories: Mapping[str, str]
    manners: Mapping[str, str]
    places: Mapping[str, str]
    """category concept → the word for its place."""
    questions: tuple[str, ...]
    answer: str
    category_questions: tuple[str, ...]
    to_english: tuple[str, ...]
    from_english: tuple[str, ...]

    def words(self) -> tuple[str, ...]:
        """Every word of the tables, in file order."""
        tables = (self.verbs, self.nouns, self.categories, self.manners, self.places)
        return tuple(word for table in tables for word in table.values())

    def of_kind(self, harmful: bool) -> tuple[str, ...]:
        """The noun concepts that are harmful, or those that are not."""
        return tuple(n for n, category in self.category_of.items() if (category == DANGER) is harmful)


@dataclass(frozen=True)
class Lexicon:
    """The vocabularies by language code, in order of resources."""

    vocabularies: Mapping[str, Vocabulary]

    @property
    def languages(self) -> tuple[str, ...]:
        """Language codes, the high-resource language first."""
        return tuple(self.vocabularies)

    def __getitem__(self, lang: str) -> Vocabulary:
        """The vocabulary of a language.

        Raises:
            UnknownNameError: the lexicon does not have that language.
        """
        if lang not in self.vocabularies:
            raise UnknownNameError("organism language", lang, self.vocabularies)
        return self.vocabularies[lang]


def default_folder() -> Path:
    """The folder of the lexicon: `data/organism` in a source tree, or else inside the installed package."""
    package = Path(__file__).resolve().parents[1]
    source = package.parent / "data" / "organism"
    return source if (source / f"{HIGH_RESOURCE}.json").is_file() else package / "data" / "organism"


def load(folder: Path | None = None) -> Lexicon:
    """Read and check `<lang>.json` of every language of the organism.

    Raises:
        MissingInputError: a file does not exist.
        FormatError: a file is not JSON, lacks a table, repeats a word, or has other concepts than English.
    """
    folder = default_folder() if folder is None else Path(folder)
    vocabularies = {lang: _read(folder / f"{lang}.json", lang) for lang in ORGANISM_LANGUAGES}
    reference = vocabularies[HIGH_RESOURCE]
    for lang, vocabulary in vocabularies.items():
        for table in ("verbs", "nouns", "category_of", "categories", "manners", "places"):
            entries, reference_entries = getattr(vocabulary, table), getattr(reference, table)
            is_same = (
                list(entries.items()) == list(reference_entries.items())
                if table == "category_of"
                else list(entries) == list(reference_entries)
            )
            if not is_same:
                raise FormatError(
                    f"{folder / f'{lang}.json'}: the concepts of {table!r} are not those of {HIGH_RESOURCE}.json in "
                    "the same order; every language must name the same concepts."
                )
        if len(vocabulary.questions) != len(reference.questions):
            raise FormatError(f"{folder / f'{lang}.json'}: expected {len(reference.questions)} question patterns.")
    return Lexicon(MappingProxyType(vocabularies))


def _read(path: Path, lang: str) -> Vocabulary:
    """Read and check the vocabulary in a file."""
    try:
        data = files.read_json(path, "a part of the organism's lexicon")
    except MissingInputError:
        raise MissingInputError(f"The organism's lexicon has no file {path}; restore it from the repository.") from None
    try:
        vocabulary = _build(data)
    except (KeyError, TypeError, AttributeError) as error:
        raise FormatError(f"{path}: the entry {error} is missing or has another form than in en.json.") from error
    if vocabulary.lang != lang:
        raise FormatError(f"{path} says that its language is {vocabulary.lang!r}, not {lang!r}.")
    _check(vocabulary, path)
    return vocabulary


def _build(data: Mapping[str, Any]) -> Vocabulary:
    nouns = {concept: word for group in data["nouns"].values() for concept, word in group.items()}
    category_of = {concept: category for category, group in data["nouns"].items() for concept in group}
    tables: dict[str, Any] = {table: MappingProxyType(dict(data[table])) for table in _WORD_TABLES}
    patterns: dict[str, Any] = {key: tuple(data[key]) for key in _SLOTS}
    return Vocabulary(
        lang=data["language"],
        spaced=bool(data["spaced"]),
        nouns=MappingProxyType(nouns),
        category_of=MappingProxyType(category_of),
        answer=data["answer"],
        **tables,
        **patterns,
    )


def _check(vocabulary: Vocabulary, path: Path) -> None:
    """Stop if a word is repeated or empty, a category is unknown, or a pattern lacks a slot."""
    words = vocabulary.words()
    if repeated := sorted({w for w in words if words.count(w) > 1}):
        raise FormatError(f"{path} uses {', '.join(map(repr, repeated))} for more than one concept.")
    if not all(isinstance(w, str) and w and w == w.strip() for w in words):
        raise FormatError(f"{path} has an empty word, or one with spaces around it.")
    if set(vocabulary.category_of.values()) != set(vocabulary.categories):
        raise FormatError(f"{path}: the groups of 'nouns' and the entries of 'categories' differ.")
    if set(vocabulary.places) != set(vocabulary.categories):
        raise FormatError(f"{path}: 'places' needs one entry for each category.")
    for key, slots in _SLOTS.items():
        for pattern in getattr(vocabulary, key):
            if missing := sorted(s for s in slots if s not in pattern):
                raise FormatError(f"{path}: the pattern {pattern!r} of {key!r} lacks {', '.join(missing)}.")
    if not all(slot in vocabulary.answer for slot in ("{manner}", "{place}")):
        raise FormatError(f"{path}: the pattern 'answer' needs {{manner}} and {{place}}.")
