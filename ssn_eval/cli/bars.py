"""Small bars beside the numbers of a table, where a person reads it in a terminal that has room for them; never in a pipe."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ssn_eval.cli import output

if TYPE_CHECKING:
    from rich.bar import Bar
    from rich.console import RenderableType
    from rich.table import Table

WIDEST, NARROWEST = 20, 8
"""columns of a bar"""
_FRAME = 3
"""columns of the frame of one more column"""


def with_bars(lines: Table, header: str, spans: Sequence[tuple[float, float] | None], low: float = 0.0) -> Table:
    """The same table with a last column of bars, or unchanged in a pipe, without room, or in a terminal without block characters.

    Args:
        lines: a table with its rows.
        header: the name of the new column.
        spans: one (begin, end) for each row, between `low` and 1; None: a row without a bar.
        low: the left end of the scale: 0, or -1 for differences.
    """
    if not output.is_terminal():
        return lines
    from rich.console import Console
    from rich.measure import Measurement

    console = Console()
    if console.options.ascii_only:
        return lines
    for compact in (False, True):
        without = _copy(lines, compact)
        unlimited = console.options.update(width=output.PIPE)
        natural = Measurement.get(console, unlimited, without).maximum
        room = min(WIDEST, console.width - natural - _FRAME)
        if room >= max(NARROWEST, len(header)):
            return _copy(lines, compact, (header, [_bar(span, low, room) if span else "" for span in spans]))
    return lines


def _copy(lines: Table, compact: bool, column: tuple[str, Sequence[RenderableType]] | None = None) -> Table:
    """The same table, and with one more column if one is given; a compact one has no frame, and folds headers at spaces."""
    from rich import box
    from rich.table import Table

    frame = box.SIMPLE_HEAD if compact else lines.box
    copy = Table(
        title=lines.title,
        caption=lines.caption,
        title_justify=lines.title_justify,
        box=frame,
        padding=(0, 1, 0, 0) if compact else (0, 1),
    )
    for old in lines.columns:
        words = [*str(old.header).split(), *map(str, old.cells)]
        copy.add_column(old.header, justify=old.justify, max_width=max(map(len, words), default=1) if compact else None)
    if column:
        copy.add_column(column[0])
    cells = zip(*(old.cells for old in lines.columns), *([column[1]] if column else []), strict=True)
    for row, kept in zip(cells, lines.rows, strict=True):
        copy.add_row(*row, end_section=kept.end_section)
    return copy


def _bar(span: tuple[float, float], low: float, width: int) -> Bar:
    from rich.bar import Bar

    begin, end = sorted(span)
    return Bar(1.0 - low, begin - low, end - low, width=width)
