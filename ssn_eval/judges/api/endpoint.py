"""One exchange with an OpenAI-compatible endpoint: asked again while there is hope, with a reason when there is none."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from ssn_eval.judges.api.settings import Settings

LONGEST_WAIT = 60.0
"""seconds that a Retry-After is obeyed, and that the back-off grows to"""
_SPENT = "insufficient_quota"
Blame = Literal["exchange", "endpoint", "fatal"]
"""whose fault it is: of this exchange alone; of the endpoint, perhaps for now; of the endpoint, as it stands"""


@dataclass(frozen=True)
class Answer:
    """What the endpoint answered."""

    text: str
    model: str
    """the model as the endpoint names it, often with its date"""
    tokens_in: int
    tokens_out: int
    finish: str

    def to_json(self) -> dict[str, object]:
        """Plain values."""
        return asdict(self)


class ExchangeError(Exception):
    """An exchange that has failed for now."""

    def __init__(self, reason: str, blame: Blame) -> None:
        """Keep the reason, which holds no key."""
        super().__init__(reason)
        self.blame: Blame = blame


class _NotAnAnswer(Exception):
    """The endpoint answered with something else than a completion."""


class Endpoint:
    """A client; safe to use from several threads."""

    def __init__(self, settings: Settings, model: str) -> None:
        """Make the client; its own retries are off, so that all faults are treated in one place."""
        from openai import OpenAI

        logging.getLogger("httpx2").setLevel(logging.WARNING)  # a line per exchange otherwise
        logging.getLogger("httpx").setLevel(logging.WARNING)
        self.host = settings.host
        self._settings, self._model = settings, model
        self._client = OpenAI(
            base_url=settings.base_url, api_key=settings.key or "none", timeout=settings.timeout, max_retries=0
        )

    def ask(self, messages: Sequence[dict[str, str]], parameters: dict[str, Any]) -> Answer:
        """Ask until there is an answer, at most `settings.attempts` times, with exponential back-off or as Retry-After says.

        Raises:
            ExchangeError: no answer in the end.
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
    """Is there hope? Connections, time-outs, 408, 409, 429 (unless the quota is used up), 5xx, and what is no answer."""
    import openai

    if isinstance(error, openai.APIStatusError):
        spent = error.code == _SPENT
        return (error.status_code in (408, 409, 429) and not spent) or error.status_code >= 500
    return isinstance(error, openai.APIConnectionError | openai.APIResponseValidationError | _NotAnAnswer)


def _blame(error: BaseException) -> Blame:
    import openai

    status = getattr(error, "status_code", None)
    if status in (400, 413, 422):
        return "exchange"
    unreachable = isinstance(error, openai.APIConnectionError) and not isinstance(error, openai.APITimeoutError)
    spent = getattr(error, "code", None) == _SPENT
    return "fatal" if unreachable or spent or status in (401, 403, 404) else "endpoint"


def _retry_after(error: BaseException | None) -> float:
    """Seconds that the endpoint asks for; 0 where it does not say."""
    response = getattr(error, "response", None)
    try:
        seconds = float(response.headers.get("retry-after", 0)) if response is not None else 0.0
    except ValueError:  # a date: rare, and the back-off does
        seconds = 0.0
    return min(max(seconds, 0.0), LONGEST_WAIT)
