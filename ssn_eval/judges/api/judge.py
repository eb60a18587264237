"""The API judges: exchanges in, answers of a large model from the cache or the endpoint, verdicts out.

An exchange that fails is unscored, says why, and is not kept, so that the next run asks again. When the endpoint fails at
the very start the run ends with one sentence; when it stops later, the rest is unscored without further waiting.
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
    """A large model behind an OpenAI-compatible endpoint, asked by a published protocol at temperature 0."""

    def __init__(self, name: str, model: str, settings: Settings | None = None) -> None:
        """Remember protocol and model; the environment is read when the judge is used.

        Args:
            name: a key of `PROTOCOLS`.
            model: as the endpoint names it.
            settings: in place of the environment's.
        """
        self.name = f"{name}:{model}"
        self._kind, self._model, self._given = name, model, settings
        self._protocol: Protocol = PROTOCOLS[name]
        self._parameters = {"temperature": 0.0, "max_tokens": self._protocol.max_tokens}
        self._seen: set[str] = set()
        self._usage: dict[str, object] = {}

    @property
    def settings(self) -> Settings:
        """As given, else as the environment says now."""
        return self._given or Settings.from_environment()

    def check(self) -> None:
        """Find what would stop every exchange, without asking anything.

        Raises:
            SsnError: a package, the key or the endpoint is not there.
        """
        self.settings.check()

    def identity(self) -> dict[str, object]:
        """Name, version, model, its revision as far as the endpoint tells, host, protocol, a hash of the prompt."""
        shown = json.dumps(self._protocol.messages("{prompt}", "{response}"), ensure_ascii=False)
        return {
            "name": self._kind,
            "version": VERSION,
            "model": files.portable(self._model),
            "revision": ", ".join(sorted(map(files.portable, self._seen))) or None,
            "endpoint": self.settings.host,
            "protocol": self._protocol.name,
            "prompt_sha256": hashlib.sha256(shown.encode()).hexdigest(),
            "parameters": self._parameters,
            "translated": False,
        }

    def usage(self) -> dict[str, object]:
        """What the last batch cost: exchanges asked, cached and failed, tokens, and the price where it is known."""
        return dict(self._usage)

    def judge(self, exchanges: Sequence[Exchange]) -> list[Verdict]:
        """One verdict per exchange, in their order; replies without a letter or digit are invalid and not asked about.

        Raises:
            SsnError: something is missing, or the endpoint answers nothing from the start; finished answers are kept.
        """
        settings = self.settings
        cache = Cache(settings.cache)
        rows: dict[str, list[int]] = {}
        asks: dict[str, list[dict[str, str]]] = {}
        for i, exchange in enumerate(exchanges):
            if any(map(str.isalnum, exchange.response)):
                messages = self._protocol.messages(exchange.prompt, exchange.response)
                key = cache.key(settings.base_url, self._model, messages, self._parameters)
                rows.setdefault(key, []).append(i)  # the same text twice is one exchange
                asks[key] = messages
        kept = {key: answer for key in asks if (answer := cache.get(key)) and self._readable(answer)}
        wanted = {key: messages for key, messages in asks.items() if key not in kept}
        got: dict[str, Answer | str] = {}
        if wanted:
            settings.check()
            endpoint = Endpoint(settings, self._model)

            def keep(key: str, answer: Answer) -> None:
                if self._readable(answer):
                    cache.put(key, answer)

            got = ask_all(endpoint, wanted, self._parameters, keep, settings.concurrency)
        self._count(len(kept), got, settings)
        verdicts = [Verdict.empty()] * len(exchanges)
        for key, answer in {**kept, **got}.items():
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
        unread = f"the judge's answer could not be read (it ended by {answer.finish})"
        return replace(verdict, notes=(unread,)) if verdict.unscored else verdict

    def _count(self, cached: int, got: Mapping[str, Answer | str], settings: Settings) -> None:
        answers = [a for a in got.values() if isinstance(a, Answer)]
        failed = len(got) - sum(map(self._readable, answers))
        tokens = sum(a.tokens_in for a in answers), sum(a.tokens_out for a in answers)
        price = settings.price
        self._usage = {
            "asked": len(answers),
            "cached": cached,
            "failed": failed,
            "prompt_tokens": tokens[0],
            "completion_tokens": tokens[1],
            "cost": None if price is None else (tokens[0] * price[0] + tokens[1] * price[1]) / 1e6,
        }
        if failed:
            logger.warning(
                "%s: %d of %d exchanges have no verdict and count as unscored; run again to ask for them once more.",
                self.name,
                failed,
                len(got),
            )
