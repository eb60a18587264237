"""Write the report: `index.html`, `figures/`, `metrics.json`, and the tables that `dvc plots` draws."""

from __future__ import annotations

import csv
import io
import json
from importlib.resources import files as package_files
from pathlib import Path
from typing import Any

from ssn_eval import files
from ssn_eval.report import figures
from ssn_eval.report.results import Results, read
from ssn_eval.report.summary import answers, metrics

_RATES = (("refusal", "refusal of harmful prompts"), ("harmless_refusal", "refusal of harmless prompts"), ("capability", "capability"))


def build(results_folder: Path, out: Path) -> dict[str, Any]:
    """Write the whole report and return its metrics.

    Raises:
        MissingInputError, FormatError: the results are missing or damaged.
    """
    from jinja2 import Environment

    results = read(results_folder)
    drawn = {name: (figures.render(figure, "svg"), figures.render(figure, "png"), alt) for name, (figure, alt) in figures.all_figures(results).items()}
    for name, (svg, png, _) in drawn.items():
        _write_bytes(out / "figures" / f"{name}.svg", svg)
        _write_bytes(out / "figures" / f"{name}.png", png)
    template = package_files("ssn_eval.report").joinpath("template.html").read_text(encoding="utf-8")
    page = Environment(autoescape=True).from_string(template).render(
        answers=answers(results),
        figures={name: (_inline(svg), alt) for name, (svg, _, alt) in drawn.items()},
        languages=results.languages,
        tables=[(title, _rate_rows(results, what)) for what, title in _RATES],
        select=results.select,
        training=results.training,
        provenance=json.dumps(results.provenance, indent=1, sort_keys=True, ensure_ascii=False),
    )
    files.write_text(out / "index.html", page)
    files.write_text(out / "plots" / "refusal.csv", _refusal_csv(results))
    files.write_text(out / "plots" / "loss.csv", _loss_csv(results))
    found = metrics(results)
    files.write_json(out / "metrics.json", found)
    return found


def _rate_rows(results: Results, what: str) -> list[tuple[str, list[str]]]:
    rows = []
    for name, condition in results.rows():
        rates = [condition.rate(lang, what) for lang in results.languages]
        rows.append((name, [f"{100 * r.value:.0f} [{100 * r.low:.0f}, {100 * r.high:.0f}]" if r else "–" for r in rates]))
    return rows


def _refusal_csv(results: Results) -> str:
    rows = [(lang, name, f"{r.value:.4f}") for name, c in results.rows() for lang in results.languages if (r := c.rate(lang, "refusal"))]
    return _csv(("lang", "variant", "refusal"), rows)


def _loss_csv(results: Results) -> str:
    return _csv(("method", "step", "loss"), [(m, e["step"], e["loss"]) for m, t in results.training.items() for e in t["loss"]])


def _csv(header: tuple[str, ...], rows: list[tuple[Any, ...]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()


def _inline(svg: bytes) -> str:
    """The `<svg>` element alone, to stand inside a page."""
    text = svg.decode()
    return text[text.index("<svg") :]


def _write_bytes(path: Path, content: bytes) -> None:
    with files.atomic(path) as temporary:
        temporary.write_bytes(content)
