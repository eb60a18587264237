"""Whether the model ended a generated text itself, or the limit of tokens cut it off.

lm_eval's `generate_until` returns texts alone. `Endings` follows the batches of one call and writes the answer onto each
request (`finished`), where `JudgedTask` reads it. A request that another model class or a cache answered has no answer: unknown.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Collection, Sequence
from typing import Any

_NAME = "finished"


class Endings:
    """Stands in for lm_eval's cache hook during one call of `generate_until`, because that is called once for each text, in order."""

    def __init__(self, hook: Any, *, by_context: bool = False) -> None:
        """Begin without flags.

        Args:
            hook: lm_eval's own.
            by_context: the model class reports other settings than a request has, as `vllm` does; then the context alone tells
                the requests apart, and requests of one context whose texts ended differently have no answer.
        """
        self._hook, self._by_context = hook, by_context
        self._flags: deque[bool] = deque()
        self._by_request: dict[str, bool | None] = {}

    def add_batch(self, flags: Sequence[bool]) -> None:
        """Take the flags of a generated batch: whether each of its texts ended by itself."""
        self._flags.extend(flags)

    def add_partial(self, kind: str, request: Any, text: Any) -> None:
        """Pair a finished text of the batch with its flag, then do what the hook does."""
        if kind == "generate_until" and self._flags:
            key, flag = self._key(request), self._flags.popleft()
            self._by_request[key] = flag if self._by_request.get(key, flag) == flag else None
        self._hook.add_partial(kind, request, text)

    def mark(self, requests: Sequence[Any]) -> None:
        """Write the flags onto lm_eval's requests."""
        for request in requests:
            setattr(request, _NAME, self._by_request.get(self._key(request.args)))

    def _key(self, request: Any) -> str:
        context, settings = request
        return json.dumps([context, None if self._by_context else settings], sort_keys=True, default=str)


def finished(request: Any) -> bool | None:
    """Whether the text of a request ended by itself; None if it is not known, or if the request has several texts."""
    return None if (request.repeats or 1) > 1 else getattr(request, _NAME, None)


def ended(
    new_tokens: Sequence[Sequence[int]], ends: Collection[int], texts: Sequence[str] | None, stops: Sequence[str]
) -> list[bool]:
    """Whether each text of a batch holds an end token or a stop sequence.

    Args:
        new_tokens: the generated tokens of each text, without the prompt.
        ends: the ids of the end tokens.
        texts: the decoded texts; needed only if there are stop sequences.
        stops: the stop sequences, without those that are end tokens.
    """
    by_token = [not set(ends).isdisjoint(tokens) for tokens in new_tokens]
    if not stops or texts is None:
        return by_token
    return [flag or any(stop in text for stop in stops) for flag, text in zip(by_token, texts, strict=True)]
