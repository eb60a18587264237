"""Guard models through vLLM, where it is installed and `SSN_JUDGE_BACKEND=vllm` asks for it. Thin on purpose."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from typing import Any

from ssn_eval.core.errors import MissingInputError
from ssn_eval.judges.guards.source import Source
from ssn_eval.models import residency


class ServedModel:
    """One guard model inside vLLM, in this process; it is dropped, not moved, when another model needs the room."""

    name = "vllm"

    def __init__(self, source: Source) -> None:
        """Remember where the model is."""
        self._source = source
        self._engine: Any = None

    def check(self) -> None:
        """Find out whether vLLM is there.

        Raises:
            MissingInputError: it is not installed.
        """
        if importlib.util.find_spec("vllm") is None:
            raise MissingInputError(
                "SSN_JUDGE_BACKEND=vllm needs vLLM, which is not installed: pip install vllm, or unset it."
            )

    def complete(
        self, questions: Sequence[Sequence[int]], max_new_tokens: int, done: Callable[[float], None] = lambda _: None
    ) -> list[str]:
        """As `LocalModel.complete`; vLLM makes its own batches and takes the token ids as they are."""
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
        """Drop the engine; the next question makes it anew."""
        import gc

        self._engine = None
        gc.collect()
