"""One model on one list of prompts: every condition of it is measured once, with one load (`conditions`).

The model is loaded when the first condition that is not finished needs it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssn_eval.core import files
from ssn_eval.core.errors import ParamsError
from ssn_eval.core.neurons import NeuronSet
from ssn_eval.core.settings import EvaluateParams
from ssn_eval.harness.conditions import CACHE, Conditions
from ssn_eval.interventions.directions import Direction, DirectionOp
from ssn_eval.interventions.ops import Op
from ssn_eval.judges.registry import get_judge
from ssn_eval.models import loading
from ssn_eval.models.loading import Loaded, ModelSpec
from ssn_eval.prompts.prompt import Prompt
from ssn_eval.training.adapters.folder import is_checkpoint, is_weights

if TYPE_CHECKING:
    from ssn_eval.harness.ability import Reference

Model = Any
"""an `SsnHFLM`, or an `SsnVLLM` if `evaluate.engine` is vllm"""
Measured = dict[str, Any]
"""`{"counts", "replies", "model"}`: the parts of `Evaluation`, and `ssn_hf`'s description of the model"""


class Bench:
    """A model, prompts, and the settings of their evaluation."""

    def __init__(
        self,
        spec: ModelSpec,
        prompts: Sequence[Prompt],
        languages: Sequence[str],
        settings: EvaluateParams,
        folder: Path = CACHE,
        trained: Path | None = None,
    ) -> None:
        """Nothing is loaded yet.

        Args:
            spec: the model.
            prompts: harmful and harmless prompts of every language.
            languages: the languages that are measured.
            settings: of the evaluation.
            folder: where finished conditions lie.
            trained: an adapter, a full checkpoint or a delta that makes the model; then `unchanged` is the trained model, and it takes no other.

        Raises:
            ParamsError: `trained` and the engine is vLLM, which does not change neurons of a trained model.
        """
        if trained is not None and settings.engine == "vllm":
            raise ParamsError("vLLM cannot intervene in a trained model; use evaluate.engine hf.")
        self._made = trained
        self._spec, self._prompts, self._languages, self._settings = spec, list(prompts), tuple(languages), settings
        self._base = cache(lambda: self._open())
        self._reference = cache(lambda: self._answers())
        self._conditions = cache(lambda: self._finished(folder))

    def unchanged(self) -> Measured:
        """The model as it is."""
        return self._measure({}, lambda: self._as_is())

    def intervened(self, neurons: NeuronSet, op: Op) -> Measured:
        """The model with an intervention on some neurons."""
        return self._measure(_own(neurons, op), lambda: self._with(neurons, op))

    def directed(self, direction: Direction, op: DirectionOp) -> Measured:
        """The model with an op on its refusal direction.

        Raises:
            ParamsError: the engine is vLLM, which has no hooks.
        """
        if self._settings.engine == "vllm":
            raise ParamsError("vLLM cannot change the residual stream; measure a direction with evaluate.engine hf.")
        used = hashlib.sha256(direction.difference.tobytes()).hexdigest()
        return self._measure(
            {"direction": used, "layer": direction.layer, "op": str(op)}, lambda: self._along(direction, op)
        )

    def loaded(self) -> Loaded:
        """The model in memory.

        Raises:
            ParamsError: the engine is vLLM, which gives no such access.
        """
        if self._settings.engine == "vllm":
            raise ParamsError("vLLM gives no access to the residual stream; find a direction with evaluate.engine hf.")
        lm = self._base()
        return Loaded(lm.model, lm.tokenizer, lm.ref)

    def has(self, neurons: NeuronSet, op: Op) -> bool:
        """Whether the condition of an intervention is finished."""
        return self._conditions().has(_own(neurons, op))

    def trained(self, folder: Path) -> Measured:
        """The model with an adapter or a delta, or a full checkpoint in its place.

        Raises:
            ParamsError: the model is a trained one already.
        """
        if self._made is not None:
            raise ParamsError(f"This bench measures {self._made} already; make another one for the base model.")
        is_full = is_checkpoint(folder)
        own = {"trained": files.sha256(folder)}

        def with_model() -> AbstractContextManager[Model]:
            if self._settings.engine == "vllm":
                return self._base().trained(folder)
            if folder.is_file():
                return self._base().edited(folder)
            return self._replaced(folder) if is_full else self._base().adapted(folder)

        return self._measure(own, with_model)

    def drop(self) -> None:
        """Take the model out of memory; the next condition that is not finished loads it again."""
        self._base.cache_clear()

    def _measure(self, own: Mapping[str, Any], with_model: Callable[[], AbstractContextManager[Model]]) -> Measured:
        from ssn_eval.harness import ability
        from ssn_eval.harness.evaluate import evaluate

        def now() -> Any:
            reference = self._reference() if self._settings.ability else None
            with with_model() as lm:
                evaluation = evaluate(lm, self._prompts, self._languages, self._settings)
                if reference is not None:
                    evaluation.counts["ability"] = {
                        lang: {"kl": round(one.kl, 6), "perplexity": round(one.perplexity, 6), "tokens": one.tokens}
                        for lang, one in ability.measure(lm.model, reference).items()
                    }
                return evaluation, lm.get_model_info()["ssn_eval"]

        return self._conditions().get(own, now)

    @contextmanager
    def _as_is(self) -> Iterator[Model]:
        yield self._base()

    @contextmanager
    def _with(self, neurons: NeuronSet, op: Op) -> Iterator[Model]:
        with self._base().intervened(neurons, op) as lm:
            yield lm

    @contextmanager
    def _along(self, direction: Direction, op: DirectionOp) -> Iterator[Model]:
        from ssn_eval.interventions.residual import direct

        lm = self._base()
        with direct(lm.model, direction, op):
            yield lm

    @contextmanager
    def _replaced(self, folder: Path) -> Iterator[Model]:
        """A full checkpoint. The model is dropped first, because both may not fit into memory."""
        self._base.cache_clear()
        yield self._open(folder)

    def _open(self, checkpoint: Path | None = None) -> Model:
        if self._settings.engine == "vllm":
            from ssn_eval.harness.served.model import SsnVLLM

            return SsnVLLM.from_spec(self._spec, self._settings.engine_args)
        from ssn_eval.harness.model import SsnHFLM

        adapter = None
        if self._made is not None:
            adapter, checkpoint = (None, self._made) if is_weights(self._made) else (self._made, None)
        return SsnHFLM.from_spec(self._spec, self._settings.batch_size, adapter=adapter, checkpoint=checkpoint)

    def _answers(self) -> Reference:
        """The base model's answers to the first harmless prompts of each language."""
        from ssn_eval.harness import ability

        settings, lm = self._settings, self._base()
        harmless = [
            p
            for lang in self._languages
            for p in [p for p in self._prompts if (p.lang, p.label) == (lang, "harmless")][: settings.ability]
        ]
        return ability.reference(
            lm.model, lm.tokenizer, harmless, max_new_tokens=settings.max_new_tokens, batch_size=settings.batch_size
        )

    def _finished(self, folder: Path) -> Conditions:
        from ssn_eval.harness.bootstrap import tasks_folder

        prompts = [[p.id, p.lang, p.label, p.prompt, list(p.tags)] for p in self._prompts]
        return Conditions(
            folder,
            {
                "model": self._spec.to_json(),
                "weights": loading.weights_hash(loading.locate(self._spec)),
                "prompts": hashlib.sha256(json.dumps(prompts).encode()).hexdigest(),
                "languages": list(self._languages),
                "evaluate": _deciding(self._settings),
                "judge": dict(get_judge(self._settings.judge).identity()),
                "tasks": files.sha256(Path(tasks_folder())),
                **({"trained": files.sha256(self._made)} if self._made else {}),
            },
        )


def _own(neurons: NeuronSet, op: Op) -> dict[str, str]:
    """What decides an intervention."""
    return {"neurons": hashlib.sha256(repr(sorted(neurons)).encode()).hexdigest(), "op": str(op)}


def _deciding(settings: EvaluateParams) -> dict[str, Any]:
    """The settings that decide a condition; the engine and the thoughts only if they are not the default, whose names are older than these settings."""
    values = asdict(settings)
    if not settings.thoughts:
        del values["thoughts"]
    if settings.engine == EvaluateParams().engine:
        del values["engine"], values["engine_args"]
        return values
    from ssn_eval.harness.served import library

    return {**values, "engine_version": library.version()}
