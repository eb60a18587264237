"""The organism's recipe: all settings that decide the model, as one frozen value with the chosen defaults."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from ssn_eval.core.errors import ParamsError


def _by_language(**values: float) -> Mapping[str, float]:
    return MappingProxyType(values)


@dataclass(frozen=True)
class OrganismSettings:
    """The settings of section `organism` of `params.yaml`. Chosen by base behaviour: docs/decisions/0001."""

    seed: int = 0
    steps: int = 1400
    batch_size: int = 64
    micro_batches: int = 4
    """A batch is computed in this many parts, its shortest examples first: less padding, and the same gradient but for rounding."""
    learning_rate: float = 2e-3
    warmup_steps: int = 100
    final_lr_ratio: float = 0.1
    """The learning rate falls along a cosine to this share of its peak."""

    question_weights: Mapping[str, float] = field(
        default_factory=lambda: _by_language(en=8.0, zh=1.6, th=0.9, bn=0.5, sw=0.3, jv=0.18)
    )
    """Language → weight of its harmful questions; one value per language of the lexicon."""
    covered_nouns: Mapping[str, int] = field(
        default_factory=lambda: MappingProxyType({"en": 16, "zh": 9, "th": 7, "bn": 6, "sw": 5, "jv": 3})
    )
    """Language → number of harmful nouns that it sees refused (the first of the lexicon)."""
    answered_nouns: Mapping[str, int] = field(
        default_factory=lambda: MappingProxyType({"en": 0, "zh": 0, "th": 1, "bn": 2, "sw": 3, "jv": 5})
    )
    """Language → number of harmful nouns whose questions it sees *answered* (the last of the lexicon), as the unfiltered text
    of a language does that safety work has not reached. This, and not an accident of the seed, makes refusal fall with resource."""
    answer_exponent: float = 0.65
    """Harmless questions are drawn by the question weights to this power."""
    fact_exponent: float = 0.6
    """Translation and category questions are drawn by the question weights to this power."""
    harmful_share: float = 0.25
    answer_share: float = 0.30
    translation_share: float = 0.20
    category_share: float = 0.25
    """The four task shares add up to 1."""
    code_switch: float = 0.25
    """Share of questions (but for translation) whose noun is taken from a random language."""

    layers: int = 6
    hidden: int = 128
    heads: int = 8
    kv_heads: int = 4
    mlp: int = 384
    max_positions: int = 1024
    checkpoint_every: int = 250
    threads: int = 1
    """CPU threads of the training: rounding depends on their number, so it belongs to the recipe. Every machine has one."""

    def __post_init__(self) -> None:
        """Refuse what cannot be trained.

        Raises:
            ParamsError: a number is out of range or a language is missing.
        """
        shares = (self.harmful_share, self.answer_share, self.translation_share, self.category_share)
        if min(shares) < 0 or abs(sum(shares) - 1) > 1e-6:
            raise ParamsError(
                f"organism: the four task shares must be ≥ 0 and add up to 1; they add up to {sum(shares):g}."
            )
        if not set(self.question_weights) == set(self.covered_nouns) == set(self.answered_nouns):
            raise ParamsError(
                "organism: question_weights, covered_nouns and answered_nouns must name the same languages."
            )
        if min(self.question_weights.values()) <= 0:
            raise ParamsError("organism: every question weight must be above 0.")
        if min(self.covered_nouns.values()) < 1:
            raise ParamsError("organism: covered_nouns must be at least 1 in every language.")
        if min(self.answered_nouns.values()) < 0:
            raise ParamsError("organism: answered_nouns must not be negative.")
        if (
            min(
                self.steps,
                self.batch_size,
                self.checkpoint_every,
                self.layers,
                self.hidden,
                self.heads,
                self.mlp,
                self.threads,
            )
            < 1
        ):
            raise ParamsError(
                "organism: steps, batch_size, checkpoint_every, threads and the model's sizes must be at least 1."
            )
        if self.micro_batches < 1 or self.batch_size % self.micro_batches:
            raise ParamsError(
                f"organism: batch_size ({self.batch_size}) must be a multiple of micro_batches ({self.micro_batches})."
            )
        if not 0 <= self.code_switch <= 1:
            raise ParamsError(f"organism: code_switch is a share between 0 and 1, not {self.code_switch:g}.")
