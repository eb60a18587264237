"""The robustness column: find SS again on a model in training, and measure the model without it and without as many random neurons."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssn_eval.core.errors import MissingInputError
from ssn_eval.core.params import Params
from ssn_eval.core.settings import ScoreParams, SelectParams
from ssn_eval.models.loading import Loaded
from ssn_eval.prompts.jsonl import read_jsonl
from ssn_eval.prompts.prompt import Prompt

if TYPE_CHECKING:
    from ssn_eval.stages.frontier.yardstick import Rates

WHICH = "ss"


@dataclass(frozen=True, eq=False)
class Again:
    """How the set is found: as the pipeline found it, on the same prompts."""

    prompts: Sequence[Prompt]
    """the training split of the pipeline's prompts"""
    languages: Sequence[str]
    hr: str
    score: ScoreParams
    select: SelectParams
    steps: Sequence[int]
    """the training steps after which it is found"""

    @classmethod
    def of(cls, path: Path, settings: Params) -> Again | None:
        """As the pipeline's params say; None if `frontier.robustness` names no step.

        Raises:
            MissingInputError: the prompts are not there.
        """
        if not settings.frontier.robustness:
            return None
        if not path.is_file():
            raise MissingInputError(f"{path} is not there; run `ssn frontier` without --as-is, or `ssn claims`.")
        prompts = [p for p in read_jsonl(path) if p.split == "train"]
        own = settings.languages, settings.hr, settings.score, settings.select, settings.frontier.robustness
        return cls(tuple(prompts), *own)

    def to_json(self) -> dict[str, Any]:
        """Everything that decides the numbers, beside the model and how it is measured."""
        prompts = json.dumps([[p.lang, p.label, p.id, p.prompt] for p in self.prompts])
        rule = {name: getattr(self.select, name) for name in ("rule", "p", "scope", "sites", "rate", "without_common")}
        return {
            "languages": list(self.languages),
            "hr": self.hr,
            "score": asdict(self.score),
            "select": rule,
            "steps": list(self.steps),
            "prompts": hashlib.sha256(prompts.encode()).hexdigest(),
        }

    def rates(self, model: Any, base: Loaded, measure: Callable[[Any], Rates]) -> dict[str, Any]:
        """`{"neurons", "suppressed", "random"}`, the last two as `measure` gives them, and absent if the rule finds no neuron.

        Args:
            model: plain weights, in eval mode; it is the same afterwards.
            base: the model that it was trained from.
            measure: from a model to its rates.
        """
        import torch

        from ssn_eval.identification.again import find_again
        from ssn_eval.identification.selection import matched_random
        from ssn_eval.interventions.hooks import intervene
        from ssn_eval.interventions.ops import SUPPRESS

        with torch.random.fork_rng(devices=[]):  # the training that goes on draws as if nothing had been measured
            loaded = Loaded(model, base.tokenizer, base.ref)
            neurons = find_again(loaded, self.prompts, self.languages, self.hr, self.score, self.select, WHICH)
            if not neurons:
                return {"neurons": 0}
            found: dict[str, Any] = {"neurons": len(neurons)}
            for kind, chosen in (("suppressed", neurons), ("random", matched_random(neurons, base.ref.geometry, 0))):
                with intervene(model, chosen, SUPPRESS):
                    found[kind] = measure(model)
        return found
