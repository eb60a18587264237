"""One request to an OpenAI-compatible endpoint. It is repeated after temporary faults; every other fault raises an error."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from ssn_eval.judges.api.settings import Settings

LONGEST_WAIT = 60.0
"""seconds; the longest wait between two attempts"""
_QUOTA_CODE = "insufficient_quota"
Blame = Literal["exchange", "endpoint", "fatal"]
"""the cause of a failure: this exchange only; the endpoint, perhaps temporarily; the endpoint, permanently"""


@dataclass(frozen=True)
class Answer:
    """An answer of the endpoint."""

    text: str
    model: str
    """the model name that the endpoint reports, often with a date"""
    tokens_in: int
    tokens_out: int
    finish: str

    def to_json(self) -> dict[str, object]:
        """The answer as JSON values."""
        return asdict(self)


class ExchangeError(Exception):
    """A request has failed."""

    def __init__(self, reason: str, blame: Blame) -> None:
        """Store the reason (without the API key) and the cause."""
        super().__init__(reason)
        self.blame: Blame = blame


class _NotAnAnswer(Exception):
    """The endpoint answered with something other than a completion."""


class Endpoint:
    """A client of one endpoint; several threads may use it."""

    def __init__(self, settings: Settings, model: str) -> None:
        """Create the client; its own retries are off, because `ask` repeats requests."""
        from openai import OpenAI

        logging.getLogger("httpx2").setLevel(logging.WARNING)  # it logs every request at INFO
        logging.getLogger("httpx").setLevel(logging.WARNING)
        self.host = settings.host
        self._settings, self._model = settings, model
        self._client = OpenAI(
            base_url=settings.base_url, api_key=settings.key or "none", timeout=settings.timeout, max_retries=0
        )

    def ask(self, messages: Sequence[dict[str, str]], parameters: dict[str, Any]) -> Answer:
        """Send a request until an answer comes, at most `settings.attempts` times.

        The wait between attempts is the Retry-After of the endpoint, or else grows exponentially.

        Raises:
            ExchangeError: there is no answer after the last attempt.
        """
        import openai
        from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_random_exponential

        back_off = wait_random_exponential(multiplier=self._settings.pause, max=LONGEST_WAIT)
        try:
            return Retrying(
                retry=retry_if_exception(_transient),
                wait=lambda state: (
                    _retry_after(state.outcome.exception() if state.outcome else None) or back_off(state)
                ),
                stop=stop_after_attempt(self._settings.attempts),
                reraise=True,
            )(self._once, messages, parameters)
        except UnicodeEncodeError as error:
            raise ExchangeError(f"the text is no Unicode that can be sent ({error.reason})", "exchange") from None
        except (openai.OpenAIError, _NotAnAnswer) as error:
            reason = f"{type(error).__name__.lstrip('_')}: {str(error)[:300]}"
            if self._settings.key:
                reason = reason.replace(self._settings.key, "***")
            raise ExchangeError(reason, _blame(error)) from None

    def _once(self, messages: Sequence[dict[str, str]], parameters: dict[str, Any]) -> Answer:
        completions: Any = self._client.chat.completions
        try:
            reply = completions.create(model=self._model, messages=list(messages), **parameters)
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise _NotAnAnswer(f"its answer is not JSON ({error})") from error
        try:
            choice, usage = reply.choices[0], reply.usage
            return Answer(
                text=choice.message.content or "",
                model=str(reply.model),
                tokens_in=int(getattr(usage, "prompt_tokens", 0) or 0),
                tokens_out=int(getattr(usage, "completion_tokens", 0) or 0),
                finish=str(choice.finish_reason),
            )
        except (AttributeError, IndexError, TypeError, ValueError) as error:
            raise _NotAnAnswer(f"its answer is no chat completion ({error})") from error


def _transient(error: BaseException) -> bool:
    """Whether a new attempt may succeed.

    It may after connection errors, time-outs, status 408, 409, 429 (unless the quota is used up) and 5xx, and after an answer that
    is not a completion.
    """
    import openai

    if isinstance(error, openai.APIStatusError):
        quota_spent = error.code == _QUOTA_CODE
        return (error.status_code in (408, 409, 429) and not quota_spent) or error.status_code >= 500
    return isinstance(error, openai.APIConnectionError | openai.APIResponseValidationError | _NotAnAnswer)


def _blame(error: BaseException) -> Blame:
    import openai

    status = getattr(error, "status_code", None)
    if status in (400, 413, 422):
        return "exchange"
    unreachable = isinstance(error, openai.APIConnectionError) and not isinstance(error, openai.APITimeoutError)
    quota_spent = getattr(error, "code", None) == _QUOTA_CODE
    return "fatal" if unreachable or quota_spent or status in (401, 403, 404) else "endpoint"


def _retry_after(error: BaseException | None) -> float:
    """The seconds of the Retry-After header; 0 if it is missing."""
    response = getattr(error, "response", None)
    try:
        seconds = float(response.headers.get("retry-after", 0)) if response is not None else 0.0
    except ValueError:  # a date, which is rare; the exponential back-off is used instead
        seconds = 0.0
    return min(max(seconds, 0.0), LONGEST_WAIT)
