"""Guard models with vLLM, if `SSN_JUDGE_BACKEND=vllm` is set."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from typing import Any

from ssn_eval.core.errors import MissingInputError, ParamsError
from ssn_eval.judges.guards.source import Source
from ssn_eval.models import engine, residency

SETTINGS = "SSN_JUDGE_ENGINE"
"""the environment variable with further arguments of vLLM, a JSON object"""


class ServedModel:
    """One guard model in a vLLM engine of this process. The engine is ended when another model needs the memory."""

    name = "vllm"

    def __init__(self, source: Source) -> None:
        """Store the source of the model."""
        self._source = source
        self._engine: Any = None

    def check(self) -> None:
        """Check that vLLM is installed, and its arguments.

        Raises:
            MissingInputError: vLLM is not installed.
            ParamsError: `SSN_JUDGE_ENGINE` is no JSON object.
        """
        if not engine.is_installed():
            raise MissingInputError(
                f"SSN_JUDGE_BACKEND=vllm needs vLLM, which is not installed: {engine.INSTALL}; or unset it."
            )
        settings()

    def complete(
        self, questions: Sequence[Sequence[int]], max_new_tokens: int, done: Callable[[float], None] = lambda _: None
    ) -> list[str]:
        """One answer per question, as `LocalModel.complete`; vLLM makes the batches.

        Raises:
            EngineError: the engine does not start, or dies.
        """
        vllm: Any = __import__("vllm")
        residency.enter(self)
        if self._engine is None:
            source = self._source
            with engine.one_failure("starting the judge"):
                self._engine = vllm.LLM(
                    model=source.model, revision=source.revision, trust_remote_code=False, **settings()
                )
        with engine.one_failure("judging", self._engine):
            outputs = self._engine.generate(
                [{"prompt_token_ids": list(ids)} for ids in questions],
                vllm.SamplingParams(temperature=0.0, max_tokens=max_new_tokens),
            )
        done(len(questions))
        return [output.outputs[0].text for output in outputs]

    def leave(self) -> None:
        """End the engine; the next question starts a new one."""
        if self._engine is not None:
            engine.close(self._engine)
            self._engine = None
            engine.free()


def settings() -> dict[str, Any]:
    """The arguments of vLLM in `SSN_JUDGE_ENGINE`.

    Raises:
        ParamsError: it is no JSON object.
    """
    text = os.environ.get(SETTINGS) or "{}"
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        value = None
    if not isinstance(value, dict):
        raise ParamsError(
            f'{SETTINGS} holds arguments of vLLM as a JSON object, such as {{"max_model_len": 4096}}; it is {text[:80]!r}.'
        )
    return value
