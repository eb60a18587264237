"""Apply the selection rules (`core/rules.py`): the MS, SS and private sets of every language by the paper's rule or by contrast."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from ssn_eval.core.errors import ParamsError
from ssn_eval.core.moments import Moments
from ssn_eval.core.neurons import SITES, NeuronSet, expand_sites
from ssn_eval.core.rules import RULES
from ssn_eval.core.settings import SelectParams
from ssn_eval.core.store import ScoreFile, Scores
from ssn_eval.identification import contrast, effects, selection
from ssn_eval.identification.contrast import Contrast
from ssn_eval.identification.selection import Scope

ByLanguage = Mapping[str, tuple[Scores, Scores]]
"""language → scores on D_jail, on D_norm"""


@dataclass(frozen=True)
class Families:
    """The sets of every language by the paper's rule."""

    hr: str
    ms: Mapping[str, NeuronSet]
    """language, HR too → MS_l"""

    @property
    def nhr(self) -> tuple[str, ...]:
        """The languages other than HR, in order."""
        return tuple(lang for lang in self.ms if lang != self.hr)

    @property
    def ss(self) -> dict[str, NeuronSet]:
        """NHR language → SS_l."""
        return {lang: selection.shared(self.ms[lang], self.ms[self.hr]) for lang in self.nhr}

    @property
    def private(self) -> dict[str, NeuronSet]:
        """NHR language → MS_l - MS_HR."""
        return {lang: selection.private(self.ms[lang], self.ms[self.hr]) for lang in self.nhr}

    def shared(self, langs: Sequence[str]) -> NeuronSet:
        """SS over several NHR languages: the union of their sets."""
        ss = self.ss
        return selection.union([ss[lang] for lang in langs])

    def by_language(self) -> dict[str, NeuronSet]:
        """`ms/<lang>`, `ss/<lang>`, `private/<lang>` → set."""
        families = {"ms": self.ms, "ss": self.ss, "private": self.private}
        return {f"{family}/{lang}": neurons for family, sets in families.items() for lang, neurons in sets.items()}

    def named(self) -> dict[str, NeuronSet]:
        """`ms_hr`, and `ss` and `private` over all NHR languages."""
        return {
            "ms_hr": self.ms[self.hr],
            "ss": self.shared(self.nhr),
            "private": selection.union(list(self.private.values())),
        }


@dataclass(frozen=True)
class ContrastFamilies(Families):
    """The sets of every language by contrast: those of the largest t, as many as the paper's rule takes, or within a rate.

    MS_l ranks by t of the language, SS_l by the smaller of its t and the high-resource language's, SS over several languages by
    the smaller of t in the high-resource language and the others' mean t. Private neurons are `MS_l - MS_HR`, as ever.
    """

    sharing: Callable[[tuple[str, ...]], NeuronSet] = field(repr=False)
    """NHR languages → their shared neurons"""

    @property
    def ss(self) -> dict[str, NeuronSet]:
        """NHR language → SS_l."""
        return {lang: self.sharing((lang,)) for lang in self.nhr}

    def shared(self, langs: Sequence[str]) -> NeuronSet:
        """SS over several NHR languages."""
        return self.sharing(tuple(langs))


def paper(scores: ByLanguage, hr: str, p: float, sites: Sequence[str] = SITES, scope: Scope = "layer") -> Families:
    """The sets of every language by the paper's rule.

    Args:
        scores: language → scores on D_jail and on D_norm.
        hr: the high-resource reference language, one of them.
        p: as in `selection.top`.
        sites: as in `selection.top`.
        scope: as in `selection.top`.

    Raises:
        as `selection.ms`.
    """
    return Families(hr, {lang: selection.ms(jail, norm, p, sites, scope) for lang, (jail, norm) in scores.items()})


@dataclass(frozen=True)
class Evidence:
    """The scores of every language, and the statistics of their prompts, as far as the score files hold them."""

    hr: str
    scores: ByLanguage
    moments: Mapping[str, tuple[Moments, Moments]] = field(default_factory=dict)
    """language → of D_jail, of D_norm; empty if a score file holds no statistics, or has fewer than two prompts"""

    @cached_property
    def contrasts(self) -> dict[str, Contrast]:
        """Language → contrast; empty without statistics."""
        return {lang: contrast.welch(jail, norm) for lang, (jail, norm) in self.moments.items()}

    @cached_property
    def _discoveries(self) -> dict[object, NeuronSet]:
        """Sets within a false discovery rate that were computed before; p does not change them."""
        return {}

    def common(self, settings: SelectParams) -> NeuronSet:
        """The neurons that matter for every prompt, of every label and language.

        Raises:
            ParamsError: the score files hold no statistics.
        """
        self._need_moments("without_common")
        sets = [moments for pair in self.moments.values() for moments in pair]
        return contrast.common(sets, settings.p, expand_sites(settings.sites))

    def families(self, settings: SelectParams) -> Families:
        """The sets of every language by `settings.rule`.

        Raises:
            ParamsError: the rule needs statistics, and the score files hold none.
            as `selection.ms`.
        """
        common = self.common(settings) if settings.without_common else NeuronSet(frozenset())
        plain = self._paper(settings)
        if not RULES[settings.rule].contrast:
            ms = {lang: neurons - common for lang, neurons in plain.ms.items()}
            return Families(self.hr, ms) if common else plain
        self._need_moments(f"the rule {settings.rule}")
        ms = {
            lang: self._pick(settings, settings.rule, lang, (), len(neurons)) - common
            for lang, neurons in plain.ms.items()
        }
        return ContrastFamilies(self.hr, ms, lambda langs: self._shared(settings, settings.rule, langs, plain) - common)

    def shared(self, settings: SelectParams, rule: str, langs: Sequence[str]) -> NeuronSet:
        """SS over these NHR languages by a rule of `CONTRASTS`, whatever `settings.rule` is.

        Raises:
            ParamsError: the score files hold no statistics.
        """
        self._need_moments(f"the rule {rule}")
        return self._shared(settings, rule, tuple(langs), self._paper(settings))

    def _paper(self, settings: SelectParams) -> Families:
        return paper(self.scores, self.hr, settings.p, expand_sites(settings.sites), settings.scope)

    def _shared(self, settings: SelectParams, rule: str, langs: tuple[str, ...], plain: Families) -> NeuronSet:
        return self._pick(settings, rule, self.hr, langs, len(plain.shared(langs)))

    def _pick(self, settings: SelectParams, rule: str, lang: str, others: tuple[str, ...], count: int) -> NeuronSet:
        """By a statistic in one language, or shared with others: the `count` first, or those within the rate."""
        sites = expand_sites(settings.sites)
        if statistic := RULES[rule].statistic:
            values = {code: effects.STATISTICS[statistic](*self.moments[code]) for code in (lang, *others)}
            ranking = effects.shared(values[lang], [values[code] for code in others]) if others else values[lang]
            return selection.strongest(ranking, count, sites)
        own = self.contrasts[lang]
        evidence = contrast.shared(own, [self.contrasts[other] for other in others]) if others else own
        if not RULES[rule].by_rate:
            return contrast.largest(evidence, count, sites)
        key = (lang, others, settings.rate, sites)
        if key not in self._discoveries:
            self._discoveries[key] = contrast.discoveries(evidence, settings.rate, sites)
        return self._discoveries[key]

    def _need_moments(self, what: str) -> None:
        if not self.moments:
            raise ParamsError(
                f"{what[0].upper()}{what[1:]} needs the statistics of two prompts or more, and a score file holds none (an earlier "
                f"version made it, or it has one prompt); score again."
            )


def moments_of(
    files: Mapping[str, tuple[ScoreFile, ScoreFile]], half: int | None = None
) -> dict[str, tuple[Moments, Moments]]:
    """Language → the moments of its two score files, of all prompts or of one half; empty if they cannot be compared."""
    moments: dict[str, tuple[Moments, Moments]] = {}
    for lang, (jail, norm) in files.items():
        if jail.statistics is None or norm.statistics is None:
            return {}
        pair = jail.statistics.moments(half), norm.statistics.moments(half)
        if min(one.count for one in pair) < 2:
            return {}
        moments[lang] = pair
    return moments


def evidence_of(hr: str, files: Mapping[str, tuple[ScoreFile, ScoreFile]]) -> Evidence:
    """All that the score files of a run say; language → scores on D_jail, on D_norm."""
    scores = {lang: (jail.scores, norm.scores) for lang, (jail, norm) in files.items()}
    return Evidence(hr, scores, moments_of(files))


def halves_of(hr: str, files: Mapping[str, tuple[ScoreFile, ScoreFile]]) -> tuple[Evidence, Evidence] | None:
    """The same from each half of the prompts; None if a score file holds no statistics."""
    if any(file.statistics is None for pair in files.values() for file in pair):
        return None
    first, second = (
        Evidence(
            hr,
            {
                lang: tuple(file.statistics.half(half) for file in pair)  # type: ignore[union-attr, misc]
                for lang, pair in files.items()
            },
            moments_of(files, half),
        )
        for half in (0, 1)
    )
    return first, second
