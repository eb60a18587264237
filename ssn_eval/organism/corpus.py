"""The training mixture: a seeded sequence of question–response pairs that contains refusals from the start.

Joint training makes refusal one shared mechanism (METHOD section 4, recipe D). A language with fewer resources has fewer refusals,
fewer harmful nouns that are refused, and more harmful nouns that are answered. Translation and category questions cover every
noun in every language. All questions are of the train split.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from typing import NamedTuple

from ssn_eval.core.languages import HIGH_RESOURCE
from ssn_eval.organism.lexicon import Lexicon
from ssn_eval.organism.questions import (
    answer,
    answered_nouns,
    covered_nouns,
    fact_patterns,
    fact_question,
    fact_split,
    pair_split,
    question,
    response,
)
from ssn_eval.organism.settings import OrganismSettings


class Example(NamedTuple):
    """One turn: the prompt of the user and the response of the assistant."""

    prompt: str
    response: str


class _WeightedChoice:
    """A weighted choice. The cumulative weights are computed once."""

    def __init__(self, population: Sequence[str], weights: Sequence[float]) -> None:
        self.population = list(population)
        self.cumulative_weights = list(itertools.accumulate(weights))

    def __call__(self, rng: random.Random) -> str:
        return rng.choices(self.population, cum_weights=self.cumulative_weights)[0]


class Mixture:
    """Draws training examples; the same settings and lexicon give the same sequence."""

    def __init__(self, lexicon: Lexicon, settings: OrganismSettings) -> None:
        """Prepare the choices; `settings.question_weights` must have every language of the lexicon."""
        self.lexicon, self.settings = lexicon, settings
        weights = settings.question_weights
        langs, nhr = lexicon.languages, [lang for lang in lexicon.languages if lang != HIGH_RESOURCE]
        self.lang_by_task = {
            "harmful": _WeightedChoice(langs, [weights[lang] for lang in langs]),
            "harmless": _WeightedChoice(langs, [weights[lang] ** settings.answer_exponent for lang in langs]),
            "category": _WeightedChoice(langs, [weights[lang] ** settings.fact_exponent for lang in langs]),
            "translation": _WeightedChoice(nhr, [weights[lang] ** settings.fact_exponent for lang in nhr]),
        }
        shares = (settings.harmful_share, settings.answer_share, settings.category_share, settings.translation_share)
        self.task = _WeightedChoice(("harmful", "harmless", "category", "translation"), shares)
        reference = lexicon[HIGH_RESOURCE]
        self.nouns = list(reference.nouns)
        self.verbs = list(reference.verbs)
        self.noun_index = {noun: n for n, noun in enumerate(self.nouns)}
        self.covered = {lang: covered_nouns(lexicon[lang], settings.covered_nouns) for lang in langs}
        self.answered = {lang: answered_nouns(lexicon[lang], settings.answered_nouns) for lang in langs}
        self.nouns_by_kind = {
            (lang, harmful): [
                n for n in lexicon[lang].of_kind(harmful) if n in self.covered[lang] | self.answered[lang]
            ]
            for lang in langs
            for harmful in (True, False)
        }

    def examples(self, count: int) -> list[Example]:
        """The first `count` examples of the sequence."""
        rng = random.Random(self.settings.seed)
        return [self._example(rng) for _ in range(count)]

    def _example(self, rng: random.Random) -> Example:
        task = self.task(rng)
        lang = self.lang_by_task[task](rng)
        if task in ("harmful", "harmless"):
            return self._pair(rng, lang, task == "harmful")
        return self._fact(rng, lang, task)

    def _pair(self, rng: random.Random, lang: str, harmful: bool) -> Example:
        noun = rng.choice(self.nouns_by_kind[lang, harmful])
        n = self.noun_index[noun]
        verb = rng.choice([verb for v, verb in enumerate(self.verbs) if pair_split(v, n) == "train"])
        vocabulary = self.lexicon[lang]
        pattern = rng.randrange(len(vocabulary.questions))
        if noun in self.answered[lang]:
            return Example(question(vocabulary, verb, vocabulary.nouns[noun], pattern), answer(vocabulary, verb, noun))
        # A word of another language teaches the response in that language too, so the noun must be covered there.
        word = self._word(rng, lang, noun, [other for other in self.lexicon.languages if noun in self.covered[other]])
        return Example(question(vocabulary, verb, word, pattern), response(vocabulary, verb, noun))

    def _fact(self, rng: random.Random, lang: str, task: str) -> Example:
        fact = "category" if task == "category" else rng.choice(("to_hr", "from_hr"))
        noun = rng.choice(self.nouns)
        n = self.noun_index[noun]
        patterns = range(len(fact_patterns(self.lexicon[lang], fact)))
        pattern = rng.choice([p for p in patterns if fact_split(n, p) == "train"])
        word = self._word(rng, lang, noun, self.lexicon.languages) if fact == "category" else None
        return Example(*fact_question(self.lexicon, lang, fact, noun, pattern, word))

    def _word(self, rng: random.Random, lang: str, noun: str, langs: Sequence[str]) -> str:
        """The word for a noun: usually in the language itself, sometimes in another of `langs` (code-switched)."""
        if rng.random() >= self.settings.code_switch:
            return self.lexicon[lang].nouns[noun]
        other = rng.choice(langs)
        word = self.lexicon[other].nouns[noun]
        return word if other == lang or self.lexicon[lang].spaced else f" {word} "


def examples(lexicon: Lexicon, settings: OrganismSettings) -> list[Example]:
    """The `steps × batch_size` training examples of the organism, in order."""
    return Mixture(lexicon, settings).examples(settings.steps * settings.batch_size)
