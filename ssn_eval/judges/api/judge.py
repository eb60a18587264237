"""The API judges: a large model answers about each exchange, from the cache or the endpoint.

The verdict of a failed request is unscored and holds the reason. It is not stored, so the next run asks again. If the endpoint
fails at the start, the run ends with an error; if it stops later, the remaining exchanges are unscored.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace

from ssn_eval.core import files
from ssn_eval.judges.api import multijail, strongreject
from ssn_eval.judges.api.batch import ask_all
from ssn_eval.judges.api.cache import Cache
from ssn_eval.judges.api.endpoint import Answer, Endpoint
from ssn_eval.judges.api.protocol import Protocol
from ssn_eval.judges.api.settings import Settings
from ssn_eval.judges.verdict import Exchange, Verdict

VERSION = "1"
PROTOCOLS = {"api": multijail.PROTOCOL, "api_strongreject": strongreject.PROTOCOL}

logger = logging.getLogger(__name__)


class ApiJudge:
    """A large model behind an OpenAI-compatible endpoint that judges by a published protocol at temperature 0."""

    def __init__(self, name: str, model: str, settings: Settings | None = None) -> None:
        """Store protocol and model; the environment is read when the judge is used.

        Args:
            name: a key of `PROTOCOLS`.
            model: the model name at the endpoint.
            settings: settings to use instead of those of the environment.
        """
        self.name = f"{name}:{model}"
        self._kind, self._model, self._given_settings = name, model, settings
        self._protocol: Protocol = PROTOCOLS[name]
        self._parameters = {"temperature": 0.0, "max_tokens": self._protocol.max_tokens}
        self._seen: set[str] = set()
        self._usage: dict[str, object] = {}

    @property
    def settings(self) -> Settings:
        """The given settings, or those of the environment."""
        return self._given_settings or Settings.from_environment()

    def check(self) -> None:
        """Check package, key and endpoint, without sending a request.

        Raises:
            SsnError: the package or the key is missing, or the endpoint does not answer.
        """
        self.settings.check()

    def identity(self) -> dict[str, object]:
        """Name, version, model, the revisions that the endpoint reported, host, protocol, and a hash of the prompt."""
        template = json.dumps(self._protocol.messages("{prompt}", "{response}"), ensure_ascii=False)
        return {
            "name": self._kind,
            "version": VERSION,
            "model": files.portable(self._model),
            "revision": ", ".join(sorted(map(files.portable, self._seen))) or None,
            "endpoint": self.settings.host,
            "protocol": self._protocol.name,
            "prompt_sha256": hashlib.sha256(template.encode()).hexdigest(),
            "parameters": self._parameters,
            "translated": False,
        }

    def usage(self) -> dict[str, object]:
        """The cost of the last batch: requests asked, cached and failed, tokens, and the price if it is known."""
        return dict(self._usage)

    def judge(self, exchanges: Sequence[Exchange]) -> list[Verdict]:
        """One verdict per exchange, in the same order; a reply without a letter or digit is invalid, without a request.

        Raises:
            SsnError: the package or the key is missing, or the endpoint answers nothing at the start; finished answers are kept.
        """
        settings = self.settings
        cache = Cache(settings.cache)
        rows: dict[str, list[int]] = {}
        requests: dict[str, list[dict[str, str]]] = {}
        for i, exchange in enumerate(exchanges):
            if any(map(str.isalnum, exchange.response)):
                messages = self._protocol.messages(exchange.prompt, exchange.response)
                key = cache.key(settings.base_url, self._model, messages, self._parameters)
                rows.setdefault(key, []).append(i)  # equal texts need one request
                requests[key] = messages
        cached = {key: answer for key in requests if (answer := cache.get(key)) and self._readable(answer)}
        missing = {key: messages for key, messages in requests.items() if key not in cached}
        answers: dict[str, Answer | str] = {}
        if missing:
            settings.check()
            endpoint = Endpoint(settings, self._model)

            def keep(key: str, answer: Answer) -> None:
                if self._readable(answer):
                    cache.put(key, answer)

            answers = ask_all(endpoint, missing, self._parameters, keep, settings.concurrency)
        self._count(len(cached), answers, settings)
        verdicts = [Verdict.empty()] * len(exchanges)
        for key, answer in {**cached, **answers}.items():
            for i in rows[key]:
                verdicts[i] = self._verdict(answer)
        return verdicts

    def _readable(self, answer: Answer) -> bool:
        return not self._protocol.read(answer.text).unscored

    def _verdict(self, answer: Answer | str) -> Verdict:
        if isinstance(answer, str):
            return Verdict.failed(answer)
        self._seen.add(answer.model)
        verdict = self._protocol.read(answer.text)
        note = f"the judge's answer could not be read (it ended by {answer.finish})"
        return replace(verdict, notes=(note,)) if verdict.unscored else verdict

    def _count(self, cached: int, outcomes: Mapping[str, Answer | str], settings: Settings) -> None:
        answers = [a for a in outcomes.values() if isinstance(a, Answer)]
        failures = len(outcomes) - sum(map(self._readable, answers))
        tokens = sum(a.tokens_in for a in answers), sum(a.tokens_out for a in answers)
        price = settings.price
        self._usage = {
            "asked": len(answers),
            "cached": cached,
            "failed": failures,
            "prompt_tokens": tokens[0],
            "completion_tokens": tokens[1],
            "cost": None if price is None else (tokens[0] * price[0] + tokens[1] * price[1]) / 1e6,
        }
        if failures:
            logger.warning(
                "%s: %d of %d exchanges have no verdict and count as unscored; run again to ask for them once more.",
                self.name,
                failures,
                len(outcomes),
            )
