"""One progress bar for everything long: on stderr, with the time left; silent where stderr is not a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Protocol, TypeVar

T = TypeVar("T")


class Advance(Protocol):
    """Reports finished steps."""

    def __call__(self, steps: float = 1) -> None:
        """Move the bar by so many steps, or by a part of one."""


@contextmanager
def progress(description: str, total: int) -> Iterator[Advance]:
    """Show a bar of `total` steps while the body runs; the body calls what it is given after each step."""
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
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task(description, total=total)

        def advance(steps: float = 1) -> None:
            bar.advance(task, steps)

        yield advance


def track(items: Iterable[T], description: str, total: int) -> Iterator[T]:
    """Iterate under a progress bar."""
    with progress(description, total) as advance:
        for item in items:
            yield item
            advance()
