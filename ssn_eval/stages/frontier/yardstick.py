"""How a model of the frontier is measured: the organism by its own questions, a real model by the pipeline's held-out prompts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssn_eval.core.errors import MissingInputError
from ssn_eval.core.settings import EvaluateParams
from ssn_eval.models.loading import Loaded
from ssn_eval.prompts.jsonl import read_jsonl
from ssn_eval.prompts.prompt import LABELS, Prompt

if TYPE_CHECKING:
    from ssn_eval.harness.ability import Reference

Rates = dict[str, dict[str, float]]
"""language → {"refusal", "harmless_refusal", "capability"}, each 0 or more; rates end at 1"""


def organism(model: Any, base: Loaded, every: Sequence[int]) -> Rates:
    """The rates of an organism on its held-out questions.

    Args:
        model: the model that is measured.
        base: the organism that it was trained from.
        every: strides over the harmful, harmless and capability questions.
    """
    from ssn_eval.models import generation
    from ssn_eval.organism import behaviour, lexicon
    from ssn_eval.organism.settings import OrganismSettings

    respond = partial(generation.generate, model, base.tokenizer, max_new_tokens=behaviour.MAX_NEW_TOKENS)
    strides: dict[str, int] = dict(zip((*LABELS, "capability"), every, strict=True))
    found = behaviour.measure(lexicon.load(), OrganismSettings().covered_nouns, respond, strides)
    return {
        lang: {
            "refusal": round(b.refusal, 6),
            "harmless_refusal": round(b.harmless_refusal, 6),
            "capability": round(b.capability, 6),
        }
        for lang, b in found.by_lang.items()
    }


@dataclass(frozen=True)
class HeldOut:
    """The held-out prompts of a real model's pipeline.

    Capability is the share of the base's likelihood that the model keeps on the base's own answers to harmless prompts: the
    geometric mean over answer tokens, 1 for the base, more where the model likes these answers better (`harness/ability.py`).
    """

    prompts: Sequence[Prompt]
    languages: Sequence[str]
    settings: EvaluateParams

    @classmethod
    def of(cls, path: Path, languages: Sequence[str], settings: EvaluateParams, every: Sequence[int]) -> HeldOut:
        """The prompts of a pipeline's `prompts.jsonl`, with strides over harmful and harmless ones.

        Raises:
            MissingInputError: the file is not there.
        """
        if not path.is_file():
            raise MissingInputError(f"{path} is not there; run `ssn frontier` without --as-is, or `ssn claims`.")
        heldout = [p for p in read_jsonl(path) if p.split == "heldout"]
        strides: Mapping[str, int] = dict(zip(LABELS, every, strict=False))
        kept = [
            p
            for lang in languages
            for label in LABELS
            for p in [p for p in heldout if (p.lang, p.label) == (lang, label)][:: strides[label]]
        ]
        return cls(
            tuple(kept), tuple(languages), replace(settings, capability=None, limit=None, samples=False, thoughts=False)
        )

    def to_json(self) -> dict[str, Any]:
        """Everything that decides the rates, beside the model."""
        return {
            "languages": list(self.languages),
            "evaluate": {name: value for name, value in asdict(self.settings).items() if name != "thoughts"},
            "prompts": [[p.lang, p.label, p.prompt] for p in self.prompts],
        }

    def reference(self, base: Loaded) -> Reference:
        """The base model's answers to the harmless prompts, as many a language as `evaluate.ability` says, at least one."""
        from ssn_eval.harness import ability

        most = max(1, self.settings.ability)
        harmless = [
            p
            for lang in self.languages
            for p in [p for p in self.prompts if (p.lang, p.label) == (lang, "harmless")][:most]
        ]
        return ability.reference(
            base.model,  # type: ignore[arg-type]
            base.tokenizer,
            harmless,
            max_new_tokens=self.settings.max_new_tokens,
            batch_size=self.settings.batch_size,
        )

    def rates(self, model: Any, base: Loaded, reference: Reference) -> Rates:
        """The rates of a model.

        Args:
            model: the model that is measured.
            base: the model that it was trained from.
            reference: the base's answers.
        """
        from ssn_eval.harness import ability
        from ssn_eval.harness.evaluate import evaluate

        found = evaluate(Loaded(model, base.tokenizer, base.ref), self.prompts, self.languages, self.settings)
        kept, own = ability.measure(model, reference), ability.of_base(reference)
        return {
            lang: {
                "refusal": _share(counts["refusal"]),
                "harmless_refusal": _share(counts["harmless_refusal"]),
                "capability": round(own[lang].perplexity / kept[lang].perplexity, 6),
            }
            for lang, counts in found.counts["by_lang"].items()
        }


def _share(counts: Mapping[str, int] | None) -> float:
    return round(counts["successes"] / counts["total"], 6) if counts and counts["total"] else 0.0
