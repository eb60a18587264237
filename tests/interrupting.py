"""A training run that stops in its middle, as kill -9 would, but in the test's own process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from ssn_eval.models import resuming


class Interrupted(Exception):
    """What the test throws instead of kill -9."""


@contextmanager
def interrupted(monkeypatch: pytest.MonkeyPatch, step: int) -> Iterator[None]:
    """Training in the body must stop after so many steps."""
    original = resuming.on_step

    def breaking(advance):
        callback, seen = original(advance), []

        def stop(*args, **kwargs):
            seen.append(1)
            if len(seen) == step:
                raise Interrupted

        callback.on_step_end = stop
        return callback

    with monkeypatch.context() as patched:
        patched.setattr(resuming, "on_step", breaking)
        with pytest.raises(Interrupted):
            yield
