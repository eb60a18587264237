"""The progress bar for long work. It appears on stderr with the time left, and only if stderr is a terminal.

A bar inside another bar is not shown.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol, TypeVar

T = TypeVar("T")


class Advance(Protocol):
    """Reports finished steps."""

    def __call__(self, steps: float = 1) -> None:
        """Move the bar by a number of steps, which may be a fraction."""


def _nothing(steps: float = 1) -> None:
    """Do nothing: the bar is not shown."""


_open = ContextVar("bars that are shown", default=False)


@contextmanager
def progress(description: str, total: int | None) -> Iterator[Advance]:
    """Show a bar of `total` steps while the body runs; the body calls the yielded function after each step.

    Without a total, the bar only shows the time that has passed.
    """
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    if _open.get() or not console.is_terminal:
        yield _nothing
        return
    columns = [TextColumn("{task.description}"), BarColumn()]
    columns += (
        [TimeElapsedColumn()] if total is None else [MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn()]
    )
    mark = _open.set(True)
    try:
        with Progress(*columns, console=console, transient=True) as bar:
            task = bar.add_task(description, total=total)

            def advance(steps: float = 1) -> None:
                bar.advance(task, steps)

            yield advance
    finally:
        _open.reset(mark)


@contextmanager
def waiting(description: str) -> Iterator[None]:
    """Show a bar without a total while the body runs, for example while a model loads."""
    with progress(description, None):
        yield


def track(items: Iterable[T], description: str, total: int) -> Iterator[T]:
    """Yield the items while a progress bar counts them."""
    with progress(description, total) as advance:
        for item in items:
            yield item
            advance()
