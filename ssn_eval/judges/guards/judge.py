"""The guard judges: a guard model answers about all exchanges in one batch."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Protocol

from ssn_eval.core.errors import UnknownNameError
from ssn_eval.core.progress import progress
from ssn_eval.judges.guards.adapter import Adapter
from ssn_eval.judges.guards.local import LocalModel
from ssn_eval.judges.guards.prompting import question, render
from ssn_eval.judges.guards.served import ServedModel
from ssn_eval.judges.guards.source import Source
from ssn_eval.judges.verdict import Exchange, Verdict

VERSION = "1"
BACKENDS = {"transformers": LocalModel, "vllm": ServedModel}

logger = logging.getLogger(__name__)


class Answers(Protocol):
    """The interface of a backend that runs a guard model."""

    name: str

    def complete(
        self, questions: Sequence[Sequence[int]], max_new_tokens: int, done: Callable[[float], None]
    ) -> list[str]:
        """One answer per question, in the same order."""
        ...

    def check(self) -> None:
        """Check the backend without loading the model."""
        ...


class GuardJudge:
    """A judge that uses a guard model of one family: a hub id (`ID@REVISION` pins the revision) or a folder."""

    def __init__(self, family: str, adapter_for: Callable[[str], Adapter], model: str | None = None) -> None:
        """Store family and model; nothing is loaded yet.

        Args:
            family: a key of `registry.GUARDS`.
            adapter_for: gives the adapter of the family for an architecture (`config.model_type`).
            model: hub id or folder; None: the default of the family.
        """
        self.name = f"{family}:{model}" if model else family
        self._family = family
        self._adapter_for = adapter_for
        self._source = Source.parse(model or adapter_for("").default_model)
        self._warned: set[str] = set()
        self._runners: dict[str, Answers] = {}

    @cached_property
    def adapter(self) -> Adapter:
        """The format of this guard model."""
        return self._adapter_for(str(self._source.config.model_type))

    @property
    def runner(self) -> Answers:
        """The backend that `SSN_JUDGE_BACKEND` names; transformers if it is not set.

        Raises:
            UnknownNameError: there is no such backend.
        """
        name = os.environ.get("SSN_JUDGE_BACKEND") or "transformers"
        if name not in BACKENDS:
            raise UnknownNameError("backend in SSN_JUDGE_BACKEND", name, BACKENDS)
        if name not in self._runners:
            self._runners[name] = BACKENDS[name](self._source)
        return self._runners[name]

    def check(self) -> None:
        """Check model and backend before long work starts; only the config of the model is read.

        Raises:
            SsnError: the model cannot be loaded, or the backend is not installed.
        """
        _ = self.adapter
        self.runner.check()

    def identity(self) -> dict[str, object]:
        """Name, version, model, revision, a hash of the prompt, backend and precision."""
        template = render(self.adapter, self._source.tokenizer, "{prompt}", "{response}")
        return {
            "name": self._family,
            "version": VERSION,
            **self._source.identity,
            "prompt_sha256": hashlib.sha256(template.encode()).hexdigest(),
            "backend": self.runner.name,
            "dtype": str(getattr(self._source.config, "dtype", None)).removeprefix("torch."),
        }

    def judge(self, exchanges: Sequence[Exchange]) -> list[Verdict]:
        """One verdict per exchange, in the same order; a reply without a letter or digit is invalid, without asking the model.

        Raises:
            SsnError: the model cannot be loaded, needs too much memory, or belongs to another family.
        """
        verdicts: list[Verdict] = [Verdict.empty()] * len(exchanges)
        token_ids: dict[int, list[int]] = {}
        notes: dict[int, tuple[str, ...]] = {}
        limit = self._source.context - self.adapter.max_new_tokens
        for i, exchange in enumerate(exchanges):
            if not any(map(str.isalnum, exchange.response)):
                continue
            request = question(self.adapter, self._source.tokenizer, exchange.prompt, exchange.response, limit)
            if request is None:
                verdicts[i] = Verdict.failed("", "the prompt leaves no room for the reply in the judge's context")
                continue
            token_ids[i], notes[i] = request.ids, request.notes + self._coverage(exchange.lang)
        if token_ids:
            with progress(f"judging ({self._family})", len(token_ids)) as advance:
                answers = self.runner.complete(list(token_ids.values()), self.adapter.max_new_tokens, advance)
            for i, answer in zip(token_ids, answers, strict=True):
                verdict = self.adapter.read(answer)
                verdicts[i] = replace(verdict, notes=verdict.notes + notes[i])
        return verdicts

    def _coverage(self, lang: str) -> tuple[str, ...]:
        if lang in self.adapter.languages:
            return ()
        note = f"{lang} is not a language of {self._family}"
        if lang not in self._warned:
            self._warned.add(lang)
            logger.warning("%s (%s): its verdicts there are noted as such; qwen3guard covers most.", note, self.name)
        return (note,)
