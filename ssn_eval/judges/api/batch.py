"""Many requests to one endpoint: one at a time until the first answer, then several at once.

After `PATIENCE` failures of the endpoint in a row, no further request is sent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from threading import Lock
from typing import Any

from ssn_eval.core.errors import MissingInputError
from ssn_eval.core.progress import progress
from ssn_eval.judges.api.endpoint import Answer, Endpoint, ExchangeError

START = 3
"""Failures in a row before the first answer that end the run."""
PATIENCE = 8
"""Failures of the endpoint in a row after which no further request is sent."""
_NOT_ASKED = "not asked: the endpoint had stopped answering"


def ask_all(
    endpoint: Endpoint,
    asks: Mapping[str, Sequence[dict[str, str]]],
    parameters: dict[str, Any],
    keep: Callable[[str, Answer], None],
    concurrency: int,
) -> dict[str, Answer | str]:
    """Send all requests.

    Args:
        endpoint: the endpoint that is asked.
        asks: key → messages.
        parameters: the parameters of every request.
        keep: called with each answer as soon as it arrives, in the thread that received it.
        concurrency: number of requests at the same time.

    Returns:
        key → the answer, or the reason for its absence.

    Raises:
        MissingInputError: the endpoint answers nothing at the start: it is down, or refuses every request.
    """
    answers: dict[str, Answer | str] = {}
    run = _Run(endpoint, parameters, keep)
    pending = list(asks)
    with progress("asking the judge", len(asks)) as advance:
        while pending and not run.answered:
            key = pending.pop(0)
            answers[key] = run.ask(key, asks[key])
            advance()
        pool = ThreadPoolExecutor(concurrency)
        try:
            futures = {pool.submit(run.ask, key, asks[key]): key for key in pending}
            for future in as_completed(futures):
                answers[futures[future]] = future.result()
                advance()
        finally:
            pool.shutdown(cancel_futures=True)
    return answers


class _Run:
    """The state that the requests of one run share."""

    def __init__(self, endpoint: Endpoint, parameters: dict[str, Any], keep: Callable[[str, Answer], None]) -> None:
        self._endpoint, self._parameters, self._keep = endpoint, parameters, keep
        self._lock = Lock()
        self._failures = 0
        self._stopped = False
        self.answered = False

    def ask(self, key: str, messages: Sequence[dict[str, str]]) -> Answer | str:
        if self._stopped:
            return _NOT_ASKED
        try:
            answer = self._endpoint.ask(messages, self._parameters)
        except ExchangeError as error:
            with self._lock:
                self._failures += not self.answered or error.blame != "exchange"
                self._stopped |= (
                    self.answered and self._failures >= PATIENCE
                )  # a late answer does not start the run again
                if not self.answered and (error.blame == "fatal" or self._failures >= START):
                    raise MissingInputError(
                        f"The judge's endpoint {self._endpoint.host} gives no answer ({error}); check it and run "
                        f"again: finished verdicts are kept."
                    ) from error
            return f"no answer from the judge: {error}"
        self._keep(key, answer)
        with self._lock:
            self.answered, self._failures = True, 0
        return answer
