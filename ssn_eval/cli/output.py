"""What every command prints: one JSON object, or text or a table for people, on stdout."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from ssn_eval.store import ModelRef

FILE = click.Path(path_type=Path)
JSON = click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")


def emit(value: object, as_json: bool, shown: str | RenderableType) -> None:
    """The result on stdout: one JSON object, or text or a table for people."""
    if as_json:
        click.echo(json.dumps(value, ensure_ascii=False, sort_keys=True))
    elif isinstance(shown, str):
        click.echo(shown)
    else:
        from rich.console import Console

        Console().print(shown)


def table(title: str, *columns: str) -> Table:
    """An empty table for people; the title is plain text, so that a path with brackets stays as it is."""
    from rich.markup import escape
    from rich.table import Table

    shown = Table(title=escape(title), title_justify="left")
    for name in columns:
        shown.add_column(name, justify="right")
    return shown


def by_layer(title: str, cells: dict[str, str], model: ModelRef) -> Table:
    """One row a layer that has anything, one column a site."""
    from ssn_eval.neurons import SITES, site_key

    shown = table(title, "layer", *SITES)
    for layer in range(model.geometry.num_layers):
        row = [cells.get(site_key(layer, site), "") for site in SITES]
        if any(row):
            shown.add_row(str(layer), *row)
    return shown
