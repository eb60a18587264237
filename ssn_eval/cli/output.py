"""The output of every command: one JSON object, or text or a table for people, on stdout."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from ssn_eval.core.origin import ModelRef

FILE = click.Path(path_type=Path)
JSON = click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
PIPE = 10_000
"""columns of a pipe: no table of ours is wider"""


def emit(value: object, as_json: bool, shown: str | RenderableType) -> None:
    """The result on stdout: one JSON object, or text or a table for people."""
    if as_json:
        click.echo(json.dumps(value, ensure_ascii=False, sort_keys=True))
    elif isinstance(shown, str):
        click.echo(shown)
    else:
        draw(shown)


def is_terminal() -> bool:
    """Whether a person reads stdout; a closed stdout has no reader."""
    return sys.stdout is not None and sys.stdout.isatty()


def draw(shown: RenderableType) -> None:
    """Tables on stdout: as wide as the terminal allows and nothing of them cut off; in a pipe plain text, a row a line."""
    from rich.console import Console, Group
    from rich.table import Table

    if isinstance(shown, Group):
        for part in shown.renderables:
            draw(part)
        return
    if isinstance(shown, Table):
        for column in shown.columns:
            column.overflow, column.no_wrap = "fold", False
    if is_terminal():
        Console().print(shown)
    elif isinstance(shown, Table):
        _plain(shown)
    else:
        Console(width=PIPE, color_system=None).print(shown)


def _plain(lines_table: Table) -> None:
    from rich.console import Console
    from rich.text import Text

    def bare(text: object) -> str:
        return Text.from_markup(str(text)).plain

    title, caption = lines_table.title, lines_table.caption
    lines_table.title = lines_table.caption = lines_table.box = None
    lines_table.pad_edge = False
    for column in lines_table.columns:
        column.header = str(column.header).replace("-\n", "")
    wide = Console(width=PIPE, color_system=None)
    with wide.capture() as text:
        wide.print(lines_table)
    lines = [line.rstrip() for line in text.get().splitlines()]
    lines = [
        *([bare(title)] if title else []),
        *(line for line in lines if line),
        *([bare(caption)] if caption else []),
    ]
    click.echo("\n".join(lines))


def table(title: str, *columns: str) -> Table:
    """An empty table for people; the title is plain text, so that a path with brackets stays as it is."""
    from rich.markup import escape
    from rich.table import Table

    result = Table(title=escape(title), title_justify="left")
    for name in columns:
        result.add_column(name, justify="right")
    return result


def by_layer(title: str, cells: dict[str, str], model: ModelRef) -> Table:
    """One row for each layer that has an entry, one column for each site."""
    from ssn_eval.core.neurons import SITES, site_key

    result = table(title, "layer", *SITES)
    for layer in range(model.geometry.num_layers):
        row = [cells.get(site_key(layer, site), "") for site in SITES]
        if any(row):
            result.add_row(str(layer), *row)
    return result
