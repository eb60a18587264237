"""`ssn frontier`: every training method over learning rates, steps and scenarios, as one figure and one table."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import click

from ssn_eval.cli.output import FILE, JSON, emit
from ssn_eval.core.errors import MissingInputError, ParamsError


@click.command()
@click.option("--seeds", help="Seeds with commas between them, in place of frontier.seeds.")
@click.option("--runs", type=FILE, default=Path("claims"), show_default=True, help="The folder of `ssn claims`.")
@click.option("--as-is", is_flag=True, help="Take the models and sets in --runs as they are, without `dvc repro`.")
@click.option("--workers", type=click.IntRange(1), help="Processes, one thread each.  [default: one for each core]")
@click.option(
    "--out", type=FILE, default=Path("frontier/results"), show_default=True, help="The folder of the results."
)
@JSON
def frontier(seeds: str | None, runs: Path, as_is: bool, workers: int | None, out: Path, as_json: bool) -> None:
    """Compare training methods on the pipeline's model: harm refused against harmless refused and capability lost.

    The section `frontier` of `params.yaml` says what is compared. Finished runs are kept in OUT/cells: a killed sweep resumes, and
    a wider one computes only what is new.

    Example: ssn frontier --seeds 0,1
    """
    from rich.console import Console

    from ssn_eval.core import arithmetic, files, params
    from ssn_eval.report import charts
    from ssn_eval.report.frontier import frontiers, table
    from ssn_eval.report.frontier_figure import draw
    from ssn_eval.stages import repetitions
    from ssn_eval.stages.frontier.sweep import sweep

    settings = params.load(Path("params.yaml"))
    if settings.model == params.ORGANISM:
        arithmetic.pin()  # the workers inherit it
    seed_numbers = _seeds(seeds) if seeds else settings.frontier.seeds
    if as_is:
        folders = {seed: runs / f"seed-{seed}" for seed in seed_numbers}
        for folder in folders.values():
            if not folder.is_dir():
                raise MissingInputError(f"No working copy at {folder}; leave --as-is out, or run `ssn claims` first.")
    else:
        folders = repetitions.run(
            Path(), runs, seed_numbers, stages=("prompts", "select"), say=partial(click.echo, err=True)
        )
    result = sweep(settings, folders, out, workers or os.cpu_count() or 1)
    value = frontiers(result, settings.frontier, settings.hr) | {"settings": params.plain(settings.frontier)}
    files.write_json(out / "frontier.json", value)
    svg = charts.svg(draw(value, settings.frontier))
    for kind, content in (("svg", svg), ("png", charts.png(svg))):
        with files.atomic(out / f"frontier.{kind}") as temporary:
            temporary.write_bytes(content)
    if not as_json:
        Console().print(table(value, settings.frontier))
    emit(value, as_json, f"All numbers: {(out / 'frontier.json').as_posix()}")


def _seeds(text: str) -> list[int]:
    try:
        numbers = list(dict.fromkeys(int(part) for part in text.split(",")))
    except ValueError:
        raise ParamsError(f"--seeds takes whole numbers with commas between them, not {text!r}.") from None
    if min(numbers) < 0:
        raise ParamsError(f"--seeds must not be below 0; got {text}.")
    return numbers
