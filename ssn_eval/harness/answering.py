"""The model that answers harmless prompts for training pairs: in memory, or in the engine that the settings of evaluation name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ssn_eval.core.settings import EvaluateParams
from ssn_eval.harness.endings import finished
from ssn_eval.models import loading, templates
from ssn_eval.models.generation import Answerer, Completion
from ssn_eval.models.loading import ModelSpec

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def answerer(spec: ModelSpec, settings: EvaluateParams) -> Answerer:
    """The model, loaded by transformers or started in vLLM.

    Raises:
        SsnError: the errors of `loading.load`, or of `SsnVLLM`.
    """
    if settings.engine != "vllm":
        return loading.load(spec)
    from ssn_eval.harness.served.model import SsnVLLM

    return Served(SsnVLLM.from_spec(spec, settings.engine_args))


class Served:
    """A model class of lm_eval's that answers prompts; the class makes its own batches."""

    def __init__(self, lm: Any) -> None:
        """Take a model with a condition (`Conditioned`)."""
        self._lm = lm

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The model's tokenizer, with its template settings."""
        return self._lm.tokenizer

    def complete(self, texts: Sequence[str], *, max_new_tokens: int, batch_size: int) -> list[Completion]:  # noqa: ARG002
        """Answer user prompts greedily, in their order.

        Raises:
            SsnError: the engine died; ends a command with one sentence.
        """
        from lm_eval.api.instance import Instance

        settings = {"until": [], "max_gen_toks": max_new_tokens, "do_sample": False}
        requests = [
            Instance("generate_until", {}, (templates.render(self.tokenizer, text), settings), i)
            for i, text in enumerate(texts)
        ]
        replies = self._lm.generate_until(requests, disable_tqdm=True)
        return [
            Completion(reply.strip(), bool(finished(request))) for request, reply in zip(requests, replies, strict=True)
        ]
