"""`ssn report`: the report of a run, or of several side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ssn_eval.cli.output import FILE, JSON, emit
from ssn_eval.core.errors import MismatchError, ParamsError

if TYPE_CHECKING:
    from ssn_eval.report.beside import Beside
    from ssn_eval.report.results import Results


@click.command()
@click.argument("runs", type=FILE, nargs=-1)
@click.option("--out", type=FILE, default=Path("report"), show_default=True, help="A folder.")
@click.option(
    "--claims", type=FILE, help="What `ssn claims` wrote.  [default: claims/claims.json, if it is of this run]"
)
@click.option(
    "--frontier", type=FILE, help="What `ssn frontier` wrote.  [default: frontier/results/frontier.json, if there]"
)
@click.option(
    "--with-samples", is_flag=True, help="Add texts of samples, harmful completions among them, folded and blurred."
)
@click.option("--reproducible", is_flag=True, help="Without times and git revision: equal results give equal bytes.")
@JSON
def report(
    runs: tuple[Path, ...],
    out: Path,
    claims: Path | None,
    frontier: Path | None,
    with_samples: bool,
    reproducible: bool,
    as_json: bool,
) -> None:
    """Write the report of a finished pipeline and print its table.

    A run is a folder of results (by default `results`), or one that holds it. Several runs are put side by side on one page.

    Example: ssn report results --out report
    """
    from ssn_eval.core.progress import waiting
    from ssn_eval.report import page, sidebyside, summary
    from ssn_eval.report.results import locate, read

    chosen = [*runs] or [Path("results")]
    if len(chosen) > 1 and with_samples:
        raise ParamsError("--with-samples takes one run; write a report for each.")
    folder = locate(chosen[0])
    first = read(folder)
    with waiting("writing the report"):
        shown = _beside(folder, first, claims, frontier, with_samples, not reproducible)
        if len(chosen) > 1:
            found: Any = sidebyside.build(chosen, out, shown)
            tables: Any = [
                summary.table(read(locate(run)), name) for name, run in zip(found["runs"], chosen, strict=True)
            ]
        else:
            names = _names(folder.parent / "params.yaml")
            found = page.build(folder, out, shown, **names)
            tables = [summary.table(read(folder, **names))]
    from rich.console import Group

    emit(found, as_json, Group(*tables))
    click.echo(f"Report: {(out / 'index.html').as_posix()}", err=True)


def _beside(
    folder: Path, first: Results, claims: Path | None, frontier: Path | None, samples: bool, machine: bool
) -> Beside:
    """What is shown beside the results: what was named, else what lies where our commands leave it."""
    from ssn_eval.report import beside

    project = folder.parent
    told = None
    if claims or (project / beside.CLAIMS).is_file():
        try:
            told = beside.read_claims(claims or project / beside.CLAIMS, first)
        except MismatchError:
            if claims:
                raise  # what merely lies there may be of another run
    found = frontier or (project / beside.FRONTIER if (project / beside.FRONTIER).is_file() else None)
    return beside.Beside(
        told,
        beside.read_frontier(found) if found else None,
        [beside.read_accuracy(path) for path in sorted(project.glob(beside.ACCURACY))],
        samples,
        machine,
    )


def _names(params_file: Path) -> dict[str, Any]:
    """The sets and methods of the run's params, if they lie beside it: files of others are left over from earlier ones."""
    from ssn_eval.core import params

    if not params_file.is_file():
        return {}
    settings = params.load(params_file)
    return {"sets": settings.validate.sets, "methods": settings.train.methods}
