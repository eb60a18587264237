"""Guard models with vLLM, if `SSN_JUDGE_BACKEND=vllm` is set."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from typing import Any

from ssn_eval.core.errors import MissingInputError
from ssn_eval.judges.guards.source import Source
from ssn_eval.models import residency


class ServedModel:
    """One guard model in a vLLM engine of this process. The engine is deleted when another model needs the memory."""

    name = "vllm"

    def __init__(self, source: Source) -> None:
        """Store the source of the model."""
        self._source = source
        self._engine: Any = None

    def check(self) -> None:
        """Check that vLLM is installed.

        Raises:
            MissingInputError: vLLM is not installed.
        """
        if importlib.util.find_spec("vllm") is None:
            raise MissingInputError(
                "SSN_JUDGE_BACKEND=vllm needs vLLM, which is not installed: pip install vllm, or unset it."
            )

    def complete(
        self, questions: Sequence[Sequence[int]], max_new_tokens: int, done: Callable[[float], None] = lambda _: None
    ) -> list[str]:
        """One answer per question, as `LocalModel.complete`; vLLM makes the batches."""
        vllm: Any = __import__("vllm")
        residency.enter(self)
        if self._engine is None:
            source = self._source
            self._engine = vllm.LLM(model=source.model, revision=source.revision, trust_remote_code=False)
        outputs = self._engine.generate(
            [{"prompt_token_ids": list(ids)} for ids in questions],
            vllm.SamplingParams(temperature=0.0, max_tokens=max_new_tokens),
        )
        done(len(questions))
        return [output.outputs[0].text for output in outputs]

    def leave(self) -> None:
        """Delete the engine; the next question creates a new one."""
        import gc

        self._engine = None
        gc.collect()
