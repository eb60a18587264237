"""The progress of long work, on stderr: one bar with the time left in a terminal, a line now and then in a file.

Work inside other work shows nothing of its own. It may tell how far the current step of the outer work is (`part`).
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol, TypeVar

T = TypeVar("T")
EVERY = 300.0
"""seconds between two lines in a file: long enough to keep a log short, short enough for a CI that stops silent jobs"""


class Advance(Protocol):
    """Reports finished steps."""

    def __call__(self, steps: float = 1) -> None:
        """Move on by a number of steps, which may be a fraction."""


class Meter:
    """Counts the steps of the outermost work and shows them."""

    def __init__(self, show: Callable[[float], None], pause: Callable[[bool], None] = lambda _: None) -> None:
        """Nothing is shown yet.

        Args:
            show: is given the number of finished steps after each change.
            pause: takes the display away (True), or brings it back (False).
        """
        self._show, self.pause = show, pause
        self._whole, self._part = 0.0, 0.0

    def advance(self, steps: float = 1) -> None:
        """Finish steps; the part of the current step that was told before is in them."""
        self._whole, self._part = self._whole + steps, 0.0
        self._show(self._whole)

    def part(self, share: float) -> None:
        """Tell how much of the current step is done, from 0 to 1; less than before changes nothing."""
        if share > self._part:
            self._part = min(share, 1.0)
            self._show(self._whole + self._part)


_meter: ContextVar[Meter | None] = ContextVar("the outermost work's meter", default=None)


def is_open() -> bool:
    """Whether some work tells its progress now, so that no other bar is wanted."""
    return _meter.get() is not None


def part(share: float) -> None:
    """Tell the outermost work how much of its current step is done, from 0 to 1."""
    if meter := _meter.get():
        meter.part(share)


@contextmanager
def progress(description: str, total: int | None) -> Iterator[Advance]:
    """Show the progress of `total` steps while the body runs; the body calls the yielded function after each step.

    Without a total, only the time that has passed is shown.
    """
    if is_open():
        yield _nothing
        return
    with _meter_of(description, total) as meter:
        mark = _meter.set(meter)
        try:
            yield meter.advance
        finally:
            _meter.reset(mark)


@contextmanager
def waiting(description: str) -> Iterator[None]:
    """Show a still line while the body runs, for example while a model loads. A download's own bar may stand in its place."""
    meter = _meter.get()
    if meter:
        meter.pause(True)
    is_terminal = sys.stderr is not None and sys.stderr.isatty()
    line = f"{description} …"
    if is_terminal:
        print(line, end="\r", file=sys.stderr, flush=True)
    try:
        yield
    finally:
        if is_terminal:
            print(" " * len(line), end="\r", file=sys.stderr, flush=True)
        if meter:
            meter.pause(False)


def track(items: Iterable[T], description: str, total: int) -> Iterator[T]:
    """Yield the items while their progress is shown."""
    with progress(description, total) as advance:
        for item in items:
            yield item
            advance()


def duration(seconds: float) -> str:
    """A time for people: `8 s`, `3 min`, `2 h 10 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


def _nothing(steps: float = 1) -> None:
    """Do nothing: the outer work is shown."""


@contextmanager
def _meter_of(description: str, total: int | None) -> Iterator[Meter]:
    """A meter that shows a bar in a terminal, and lines elsewhere."""
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield Meter(_lines(description, total))
        return
    with _bar(console, total is not None) as bar:
        task = bar.add_task(description, total=total)
        yield Meter(
            lambda steps: bar.update(task, completed=steps), lambda hidden: bar.stop() if hidden else bar.start()
        )


def _bar(console: Any, has_total: bool) -> Any:
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns: list[Any] = [TextColumn("{task.description}"), BarColumn()]
    columns += (
        [MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn()] if has_total else [TimeElapsedColumn()]
    )
    # steps may take minutes: the speed is measured over the last ten
    return Progress(*columns, console=console, transient=True, speed_estimate_period=600)


def _lines(description: str, total: int | None) -> Callable[[float], None]:
    """Shows steps as lines, at most one every `EVERY` seconds."""
    started = last = time.monotonic()

    def show(steps: float) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last < EVERY or not total or not 0 < steps < total:
            return
        last = now
        left = (now - started) * (total - steps) / steps
        print(f"{description}: {100 * steps / total:.0f} %, about {duration(left)} left", file=sys.stderr, flush=True)

    return show
