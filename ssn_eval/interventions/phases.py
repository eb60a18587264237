"""Which tokens of a forward pass belong to the prompt and which were generated.

Inside `model.generate` the prompt is what generate was given, padding included, with or without a cache and in chunks or
not. Outside it, a pass that begins with an empty cache reads a prompt, and a pass that continues a cache reads generated
tokens.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ssn_eval.core.errors import ParamsError

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel

_ATTRIBUTE = "_ssn_phases"
_CACHE = ("cache", "past_key_values")
"""what transformers calls the cache since 5.24, and before"""


def track(model: PreTrainedModel, decoder: nn.Module) -> Phases:
    """Follow a model's passes until each call of this function is matched by a `remove`; all users of a model share one tracker.

    Args:
        model: the plain model, inside any wrapper: the one whose `generate` runs.
        decoder: its part that takes the cache.
    """
    phases = vars(model).get(_ATTRIBUTE) or Phases(model, decoder)
    phases.users += 1
    return phases


class Phases:
    """The tracker of one model."""

    def __init__(self, model: PreTrainedModel, decoder: nn.Module) -> None:
        """Follow the passes of `decoder` and the calls of `model.generate`."""
        self.users = 0
        self._model: Any = model
        self._past = 0
        self._new = 0
        """tokens of this pass, where they are known"""
        self._prompt: int | None = None
        """columns of the prompt, inside generate"""
        self._before = vars(model).get("generate")
        self._generate: Any = model.generate
        self._handle = decoder.register_forward_pre_hook(self._note_past, with_kwargs=True)
        model.generate = self._wrapped()  # type: ignore[method-assign]
        setattr(model, _ATTRIBUTE, self)

    def prompt_tokens(self, time: int) -> int:
        """How many of the `time` tokens that a site sees belong to the prompt; these come first.

        Keys and values of latent attention (DeepSeek) are computed of the whole cache in every pass; there `time` counts the cached
        tokens too.

        Raises:
            ParamsError: such a site outside `generate`, where nothing says how long the prompt was.
        """
        if self._past and self._new and time == self._past + self._new:
            if self._prompt is None:
                raise ParamsError(
                    "This site sees every cached token in each pass, so prompt and generated tokens can be told apart only inside "
                    "`generate`; use positions=all."
                )
            return min(self._prompt, time)
        if self._prompt is None:
            return 0 if self._past else time
        return min(max(self._prompt - self._past, 0), time)

    def remove(self) -> None:
        """Remove one user; after the last one the model is as before."""
        self.users -= 1
        if self.users:
            return
        self._handle.remove()
        delattr(self._model, _ATTRIBUTE)
        if self._before is None:
            del self._model.generate
        else:
            self._model.generate = self._before

    def _note_past(self, _decoder: nn.Module, _args: object, kwargs: dict[str, Any]) -> None:
        caches = (kwargs.get(name) for name in _CACHE)
        cache = next((value for value in caches if value is not None), None)
        self._past = 0 if cache is None else int(cache.get_seq_length())
        given = (kwargs.get(name) for name in ("input_ids", "inputs_embeds"))
        tokens = next((value for value in given if value is not None), None)
        self._new = 0 if tokens is None else int(tokens.shape[1])

    def _wrapped(self) -> Callable[..., Any]:
        @functools.wraps(self._generate)
        def generate(*args: Any, **kwargs: Any) -> Any:
            by_name = (kwargs.get(name) for name in ("input_ids", "inputs", "inputs_embeds"))
            inputs = next((value for value in (*args[:1], *by_name) if value is not None), None)
            outer, self._prompt = self._prompt, 1 if inputs is None else int(inputs.shape[1])
            try:
                return self._generate(*args, **kwargs)
            finally:
                self._prompt = outer

        return generate
