"""Shared by `validate` and `evaluate`: the held-out prompts, and the conditions of the pipeline's model, each measured once."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssn_eval.core import files
from ssn_eval.core.params import Params
from ssn_eval.judges.registry import get_judge
from ssn_eval.models import loading
from ssn_eval.prompts.jsonl import read_jsonl
from ssn_eval.stages.common import need

if TYPE_CHECKING:
    from ssn_eval.harness.ability import Reference
    from ssn_eval.harness.conditions import Conditions
    from ssn_eval.harness.model import SsnHFLM


class Bench:
    """The pipeline's model on its held-out prompts. It is loaded once, when the first condition that is not finished needs it."""

    def __init__(self, settings: Params, model: Path, prompt_file: Path) -> None:
        """Read the prompts and the model's description; nothing is loaded.

        Raises:
            MissingInputError: an earlier stage has not run.
        """
        self._settings = settings
        self._spec = loading.read_spec(need(model, "organism") / "spec.json")
        self._prompts = [p for p in read_jsonl(need(prompt_file, "prompts")) if p.split == "heldout"]
        self._base = cache(lambda: self._open())
        self._reference = cache(lambda: self._answers())
        self.conditions = self._finished(prompt_file)

    def measure(self, own: Mapping[str, Any], with_model: Callable[[], Any]) -> dict[str, Any]:
        """One condition: `{"counts", "replies", "model"}`.

        Args:
            own: what decides this condition beside the model, the prompts and the settings.
            with_model: gives a context whose value is the changed model.
        """
        from ssn_eval.harness import ability
        from ssn_eval.harness.evaluate import evaluate

        def now() -> Any:
            reference = self._reference() if self._settings.evaluate.ability else None
            with with_model() as lm:
                evaluation = evaluate(lm, self._prompts, self._settings.languages, self._settings.evaluate)
                if reference is not None:
                    evaluation.counts["ability"] = {
                        lang: {"kl": round(one.kl, 6), "perplexity": round(one.perplexity, 6), "tokens": one.tokens}
                        for lang, one in ability.measure(lm.model, reference).items()
                    }
                return evaluation, lm.get_model_info()["ssn_eval"]

        return self.conditions.get(own, now)

    @contextmanager
    def base(self) -> Iterator[SsnHFLM]:
        """The unchanged model."""
        yield self._base()

    @contextmanager
    def adapted(self, folder: Path) -> Iterator[SsnHFLM]:
        """The model with an adapter, which is taken off again."""
        with self._base().adapted(folder) as lm:
            yield lm

    @contextmanager
    def replaced(self, folder: Path) -> Iterator[SsnHFLM]:
        """A full checkpoint in the model's place. The model is dropped first, because both may not fit into memory."""
        self._base.cache_clear()
        yield self._open(folder)

    def _open(self, checkpoint: Path | None = None) -> SsnHFLM:
        from ssn_eval.harness.model import SsnHFLM

        return SsnHFLM.from_spec(self._spec, self._settings.evaluate.batch_size, checkpoint=checkpoint)

    def _answers(self) -> Reference:
        """The base model's answers to the first harmless held-out prompts of each language."""
        from ssn_eval.harness import ability

        settings, lm = self._settings.evaluate, self._base()
        harmless = [
            p
            for lang in self._settings.languages
            for p in [p for p in self._prompts if (p.lang, p.label) == (lang, "harmless")][: settings.ability]
        ]
        return ability.reference(
            lm.model, lm.tokenizer, harmless, max_new_tokens=settings.max_new_tokens, batch_size=settings.batch_size
        )

    def _finished(self, prompt_file: Path) -> Conditions:
        from dataclasses import asdict

        from ssn_eval.harness.bootstrap import tasks_folder
        from ssn_eval.harness.conditions import CACHE, Conditions

        settings = self._settings
        return Conditions(
            CACHE,
            {
                "model": self._spec.to_json(),
                "weights": loading.weights_hash(loading.locate(self._spec)),
                "prompts": files.sha256(prompt_file),
                "languages": list(settings.languages),
                "evaluate": asdict(settings.evaluate),
                "judge": dict(get_judge(settings.evaluate.judge).identity()),
                "tasks": files.sha256(Path(tasks_folder())),
            },
        )


def write_samples(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write one JSON object a line: the condition of a reply, and its row of `Evaluation.replies`."""
    files.write_text(path, "".join(json.dumps(row, ensure_ascii=False, sort_keys=True) + "\n" for row in rows))
