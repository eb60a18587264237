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
    "--claims", type=FILE, help="The file that `ssn claims` wrote.  [default: claims/claims.json, if it is of this run]"
)
@click.option(
    "--frontier",
    type=FILE,
    help="The file that `ssn frontier` wrote.  [default: frontier/results/frontier.json, if there]",
)
@click.option("--with-samples", is_flag=True, help="Add texts of samples, harmful completions among them, blurred.")
@click.option("--reproducible", is_flag=True, help="Without times and git revision: equal results give equal bytes.")
@click.option("--open", "open_page", is_flag=True, help="Show the page in your browser.")
@JSON
def report(
    runs: tuple[Path, ...],
    out: Path,
    claims: Path | None,
    frontier: Path | None,
    with_samples: bool,
    reproducible: bool,
    open_page: bool,
    as_json: bool,
) -> None:
    """Write the report of a finished pipeline and print its table.

    A run is a folder of results (by default `results`), or one that holds it. Several runs are put side by side on one page.

    Example: ssn report results --out report
    """
    from ssn_eval.core.progress import waiting
    from ssn_eval.report import page, sidebyside, summary
    from ssn_eval.report.results import locate, read

    folders = [*runs] or [Path("results")]
    if len(folders) > 1 and with_samples:
        raise ParamsError("--with-samples takes one run; write a report for each.")
    folder = locate(folders[0])
    first = read(folder)
    with waiting("writing the report"):
        parts = _beside(folder, first, claims, frontier, with_samples, not reproducible)
        if len(folders) > 1:
            built: Any = sidebyside.build(folders, out, parts)
            tables: Any = [
                summary.table(read(locate(run)), name) for name, run in zip(built["runs"], folders, strict=True)
            ]
        else:
            names = _names(folder.parent / "params.yaml")
            built = page.build(folder, out, parts, **names)
            tables = [summary.table(read(folder, **names))]
    from rich.console import Group

    emit(built, as_json, Group(*tables))
    click.echo(f"Report: {(out / 'index.html').as_posix()}", err=True)
    if open_page:
        _open(out / "index.html")


def _open(page: Path) -> None:
    """The page in the reader's browser; a machine without one is told where the page is."""
    import webbrowser

    if not webbrowser.open(page.resolve().as_uri()):
        click.echo(f"There is no browser to open here; open {page.resolve().as_posix()} yourself.", err=True)


def _beside(
    folder: Path, first: Results, claims: Path | None, frontier: Path | None, samples: bool, machine: bool
) -> Beside:
    """The parts shown beside the results: the named files, else those in the default places of our commands."""
    from ssn_eval.report import beside

    project = folder.parent
    sample_page = None
    if claims or (project / beside.CLAIMS).is_file():
        try:
            sample_page = beside.read_claims(claims or project / beside.CLAIMS, first)
        except MismatchError:
            if claims:
                raise  # what merely lies there may be of another run
    frontier_file = frontier or (project / beside.FRONTIER if (project / beside.FRONTIER).is_file() else None)
    return beside.Beside(
        sample_page,
        beside.read_frontier(frontier_file) if frontier_file else None,
        [beside.read_accuracy(path) for path in sorted(project.glob(beside.ACCURACY))],
        samples,
        machine,
    )


def _names(params_file: Path) -> dict[str, Any]:
    """The sets and methods of the run's params, if there are params: files of other sets are left from earlier runs."""
    from ssn_eval.core import params

    if not params_file.is_file():
        return {}
    settings = params.load(params_file)
    return {"sets": settings.validate.names, "methods": settings.train.methods, "compared": settings.agreement}
