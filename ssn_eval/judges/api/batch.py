"""Many exchanges with one endpoint: the first alone, the rest a few at a time, and none after it has stopped answering."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from threading import Lock
from typing import Any

from ssn_eval.core.errors import MissingInputError
from ssn_eval.core.progress import progress
from ssn_eval.judges.api.endpoint import Answer, Endpoint, ExchangeError

START = 3
"""Failures in a row, before anything was answered, that end the run."""
PATIENCE = 8
"""Failures of the endpoint in a row after which nothing more is asked."""
_STOPPED = "not asked: the endpoint had stopped answering"


def ask_all(
    endpoint: Endpoint,
    asks: Mapping[str, Sequence[dict[str, str]]],
    parameters: dict[str, Any],
    keep: Callable[[str, Answer], None],
    concurrency: int,
) -> dict[str, Answer | str]:
    """Ask everything.

    Args:
        endpoint: who is asked.
        asks: key → messages.
        parameters: of every request.
        keep: called with each answer as soon as it is there, from the thread that got it.
        concurrency: exchanges under way at once.

    Returns:
        key → the answer, or the reason why there is none.

    Raises:
        MissingInputError: nothing was answered at the start: the endpoint is down, or refuses everything.
    """
    got: dict[str, Answer | str] = {}
    run = _Run(endpoint, parameters, keep)
    waiting = list(asks)
    with progress("asking the judge", len(asks)) as advance:
        while waiting and not run.answered:
            key = waiting.pop(0)
            got[key] = run.ask(key, asks[key])
            advance()
        pool = ThreadPoolExecutor(concurrency)
        try:
            futures = {pool.submit(run.ask, key, asks[key]): key for key in waiting}
            for future in as_completed(futures):
                got[futures[future]] = future.result()
                advance()
        finally:
            pool.shutdown(cancel_futures=True)
    return got


class _Run:
    """What the exchanges of one run know of each other."""

    def __init__(self, endpoint: Endpoint, parameters: dict[str, Any], keep: Callable[[str, Answer], None]) -> None:
        self._endpoint, self._parameters, self._keep = endpoint, parameters, keep
        self._lock = Lock()
        self._failures = 0
        self._stopped = False
        self.answered = False

    def ask(self, key: str, messages: Sequence[dict[str, str]]) -> Answer | str:
        if self._stopped:
            return _STOPPED
        try:
            answer = self._endpoint.ask(messages, self._parameters)
        except ExchangeError as error:
            with self._lock:
                self._failures += not self.answered or error.blame != "exchange"
                self._stopped |= self.answered and self._failures >= PATIENCE  # a late answer does not start it again
                if not self.answered and (error.blame == "fatal" or self._failures >= START):
                    raise MissingInputError(
                        f"The judge's endpoint {self._endpoint.host} gives no answer ({error}); see to it and run "
                        f"again: finished verdicts are kept."
                    ) from error
            return f"no answer from the judge: {error}"
        self._keep(key, answer)
        with self._lock:
            self.answered, self._failures = True, 0
        return answer
