"""One progress bar for everything long: on stderr, with the time left; silent where stderr is not a terminal.

A bar inside a bar is not shown: the outer one already says how far the work is.
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
        """Move the bar by so many steps, or by a part of one."""


def _nothing(steps: float = 1) -> None:
    """The steps of a bar that is not shown."""


_open = ContextVar("bars that are shown", default=False)


@contextmanager
def progress(description: str, total: int | None) -> Iterator[Advance]:
    """Show a bar of `total` steps while the body runs; the body calls what it is given after each step.

    Without a total it moves to and fro and shows the time that has passed.
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
    """A bar for what cannot say how far it is, such as loading a model."""
    with progress(description, None):
        yield


def track(items: Iterable[T], description: str, total: int) -> Iterator[T]:
    """Iterate under a progress bar."""
    with progress(description, total) as advance:
        for item in items:
            yield item
            advance()
