"""The report of one run: `index.html`, `figures/`, `metrics.json` and `plots/`."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ssn_eval.core import files
from ssn_eval.report import (
    answers,
    charts,
    figures,
    maps,
    neuron_tables,
    paper,
    plots,
    provenance,
    samples,
    scripts,
    tables,
)
from ssn_eval.report.beside import Beside, frontier_grid
from ssn_eval.report.charts import Drawn, Spec
from ssn_eval.report.grid import Grid
from ssn_eval.report.results import locate, read
from ssn_eval.report.summary import metrics
from ssn_eval.report.verdicts import SEEDS


class Rendered(NamedTuple):
    """A figure as SVG and PNG bytes, with its alternative text and its specification."""

    svg: bytes
    png: bytes
    alt: str
    spec: Spec


def build(
    run: Path,
    out: Path,
    beside: Beside | None = None,
    *,
    sets: Collection[str] | None = None,
    methods: Collection[str] | None = None,
    compared: Collection[str] | None = None,
) -> dict[str, Any]:
    """Write the whole report of a run and return its metrics.

    Args:
        run: a folder of results, or a folder that holds `results`.
        out: the folder of the report.
        beside: additional content of the page.
        sets: as in `results.read`.
        methods: as in `results.read`.
        compared: as in `results.read`.

    Raises:
        MissingInputError, FormatError: the results are missing or damaged; nothing is written.
    """
    beside, folder = beside or Beside(), locate(run)
    results = read(folder, sets, methods, compared)
    exchanges = samples.exchanges(folder, results) if beside.samples else []
    run_provenance = provenance.of(folder, results, machine=beside.machine)
    claims = beside.claims or {
        "seeds": ["this run"],
        "claims": [c.to_json() for c in paper.judge([results])],
    }
    figure_files = rendered(figures.all_figures(results) | _extra_figures(beside))
    page = html(
        "run.html",
        title=results.model_name,
        headline=answers.headline(results),
        legend=answers.LEGEND,
        answers=answers.answers(results),
        figures=inlined(figure_files),
        data={"charts": specs(figure_files), "samples": samples.data(results, exchanges)},
        hr=results.hr,
        tables=tables.tables(results) | neuron_tables.neuron_tables(results) | _extra_grids(beside),
        claims=claims,
        seeds_needed=SEEDS,
        candidates=results.select["candidates"],
        unscored=sum(c.unscored(results.languages) for c in results.rows()),
        judge=samples.judge_of(results),
        sampled=[c.label for c in samples.shown(results)],
        sample_rows=samples.rows(results),
        most_rows=samples.MOST_ROWS,
        languages=results.languages,
        exchanges=exchanges,
        static_exchanges=samples.first(exchanges),
        made=run_provenance,
        took=[tables.took(stage) for stage in run_provenance.took],
        commands=provenance.commands(results, run_provenance),
        facts=list(flat(results.provenance)),
    )
    write_figures(out, figure_files)
    files.write_text(out / "index.html", page)
    files.write_text(out / "plots" / "refusal.csv", plots.refusal(results))
    files.write_text(out / "plots" / "loss.csv", plots.loss(results))
    run_metrics = metrics(results)
    files.write_json(out / "metrics.json", run_metrics)
    return run_metrics


def html(template: str, *, data: Mapping[str, Any], **values: object) -> str:
    """A page from its template, with its scripts, their data and its policy; a missing value raises an error."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    loader = PackageLoader("ssn_eval.report", "templates")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    page_scripts = [scripts.library(), scripts.behaviour()]
    return (
        environment.get_template(template).render(
            **values, scripts=page_scripts, policy=scripts.policy(page_scripts), data=scripts.data(data)
        )
        + "\n"
    )


def rendered(drawn: Mapping[str, Drawn]) -> dict[str, Rendered]:
    """Every figure as SVG and PNG."""
    return {
        name: Rendered(svg := charts.svg(one.spec), charts.png(svg), one.alt, one.spec) for name, one in drawn.items()
    }


def specs(drawn: Mapping[str, Rendered]) -> dict[str, Spec]:
    """The specification of every figure, for the script of the page."""
    return {name: one.spec for name, one in drawn.items()}


def inlined(drawn: Mapping[str, Rendered]) -> dict[str, tuple[str, str]]:
    """Name → (`<svg>` element, alternative text)."""
    return {name: (charts.inline(figure.svg, name), figure.alt) for name, figure in drawn.items()}


def write_figures(out: Path, drawn: Mapping[str, Rendered]) -> None:
    """Write `figures/<name>.svg` and `.png`."""
    for name, figure in drawn.items():
        for kind, content in (("svg", figure.svg), ("png", figure.png)):
            with files.atomic(out / "figures" / f"{name}.{kind}") as temporary:
                temporary.write_bytes(content)


def flat(value: object, name: str = "") -> Iterable[tuple[str, str]]:
    """Nested values as pairs (`a › b › c`, text)."""
    if isinstance(value, Mapping) and value:
        for key in sorted(value):
            yield from flat(value[key], f"{name} › {key}" if name else str(key))
    elif value is not None:
        yield name, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _extra_figures(beside: Beside) -> dict[str, Drawn]:
    """The figures of the additional content."""
    drawings = {}
    if beside.frontier:
        from ssn_eval.report.frontier_figure import draw

        alt = "Staircases of harmful prompts refused against harmless prompts refused, and against capability lost, by method"
        drawings["frontier"] = Drawn(draw(*beside.frontier), alt)
    if beside.accuracy:
        alt = "Spearman correlation of the scorer with ablation by site, a marker for each model"
        drawings["accuracy"] = Drawn(maps.accuracy(beside.accuracy), alt)
    return drawings


def _extra_grids(beside: Beside) -> dict[str, Grid]:
    return {
        "frontier": frontier_grid(beside.frontier) if beside.frontier else Grid("", (), ()),
        "accuracy": neuron_tables.accuracy(beside.accuracy),
    }
