"""The page of several runs side by side: refusal, the effect of SS, and the params in which the runs differ."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from ssn_eval.core import files
from ssn_eval.core.errors import MismatchError
from ssn_eval.report import answers, comparisons, figures, paper, provenance
from ssn_eval.report.beside import Beside
from ssn_eval.report.charts import Drawn
from ssn_eval.report.condition import Condition
from ssn_eval.report.grid import Grid
from ssn_eval.report.page import flat, html, inlined, rendered, specs, write_figures
from ssn_eval.report.results import Results, locate, read
from ssn_eval.report.summary import metrics, percent


class Run(NamedTuple):
    """One run, with a name that distinguishes it from the others."""

    name: str
    results: Results
    made: provenance.Made


def build(runs: Sequence[Path], out: Path, beside: Beside | None = None) -> dict[str, Any]:
    """Write the page of several runs and return the metrics of each, by name.

    Args:
        runs: folders of results, or folders that hold `results`.
        out: the folder of the report.
        beside: additional content; only its claims and its setting `machine` are used.

    Raises:
        MissingInputError, FormatError: the results of a run are missing or damaged; nothing is written.
        MismatchError: a run is given twice.
    """
    beside = beside or Beside()
    loaded_runs = [
        Run(name, results := read(folder), provenance.of(folder, results, machine=beside.machine))
        for name, folder in zip(names(runs), map(locate, runs), strict=True)
    ]
    langs = list(dict.fromkeys(lang for run in loaded_runs for lang in run.results.languages))
    figure_files = rendered(_figures(loaded_runs, langs))
    page = html(
        "runs.html",
        title=f"{len(loaded_runs)} runs",
        runs=[(run.name, answers.headline(run.results)) for run in loaded_runs],
        legend=answers.LEGEND,
        figures=inlined(figure_files),
        data={"charts": specs(figure_files)},
        tables=_tables(loaded_runs, langs),
        claims=beside.claims,
        facts=_facts(loaded_runs),
    )
    write_figures(out, figure_files)
    files.write_text(out / "index.html", page)
    by_run = {run.name: metrics(run.results) for run in loaded_runs}
    files.write_json(out / "metrics.json", {"runs": by_run})
    return {"runs": by_run}


def names(runs: Sequence[Path]) -> list[str]:
    """A short name for each run: the last part of its path that is not `results`, or the whole path if the parts are not unique.

    Raises:
        MismatchError: a run is given twice.
    """
    whole = [run.as_posix() for run in runs]
    if len({run.resolve() for run in runs}) < len(runs):
        raise MismatchError(f"A run is given twice in {', '.join(whole)}; give each run once.")
    short = [run.parent.name if run.name == "results" and run.parent.name else run.name or "." for run in runs]
    return short if len(set(short)) == len(short) else whole


def _figures(runs: Sequence[Run], langs: Sequence[str]) -> dict[str, Drawn]:
    kinds: dict[str, tuple[str, Callable[[Results], Condition | None]]] = {
        "base": ("the base model", lambda r: r.base),
        "suppressed": ("the model with SS suppressed", _suppressed),
        "hardened": ("the hardened model", lambda r: r.hardened),
    }
    drawings = {}
    for name, (title, condition_of) in kinds.items():
        conditions = [replace(c, label=run.name) for run in runs if (c := condition_of(run.results))]
        if conditions:
            figure = figures.by_language(langs, conditions, "refusal", f"harmful prompts refused by {title}")
            drawings[name] = Drawn(figure, f"Refusal of harmful prompts by {title}, by language, a marker for each run")
    return drawings


def _tables(runs: Sequence[Run], langs: Sequence[str]) -> dict[str, Grid]:
    header = ["run", "SS", "SS, % of candidates", "base", "SS suppressed", "hardened", "harmless", "capability"]
    rows = []
    for run in runs:
        r, size = run.results, int(run.results.select["named"].get("ss", 0))
        states = [r.base, _suppressed(r), r.hardened]
        rates = [percent(c.mean(r.nhr, "refusal") if c else None, "") for c in states]
        costs = [
            percent(r.hardened.mean(r.languages, w) if r.hardened else None, "")
            for w in ("harmless_refusal", "capability")
        ]
        rows.append([run.name, str(size), f"{100 * size / r.select['candidates']:.2f}", *rates, *costs])
    caption = "Mean refusal of harmful prompts in the NHR languages, %; harmless refused and capability of the hardened model, means"
    return {
        "overview": Grid(caption, header, rows),
        "base": _by_language("The base model: harmful prompts refused, %", runs, langs, lambda r: r.base),
        "suppressed": _by_language("SS suppressed: harmful prompts refused, %", runs, langs, _suppressed),
        "hardened": _by_language("The hardened model: harmful prompts refused, %", runs, langs, lambda r: r.hardened),
        "claims": _claims(runs),
        "params": _params(runs),
    }


def _by_language(
    caption: str, runs: Sequence[Run], langs: Sequence[str], condition_of: Callable[[Results], Condition | None]
) -> Grid:
    rows = []
    for run in runs:
        condition = condition_of(run.results)
        if condition:
            rates = [condition.rate(lang, "refusal") for lang in langs]
            words = [comparisons.word(r) for r in rates if r]
            safe = f"{words.count('safe')} of {len(words)}"
            rows.append([run.name, *(percent(r.value if r else None, "") for r in rates), safe])
    return Grid(caption, ["run", *langs, "safe in"], rows)


def _claims(runs: Sequence[Run]) -> Grid:
    """The verdict of each single run on every claim."""
    claims_by_run = [paper.judge([run.results]) for run in runs]
    rows = [
        [f"{claim.number}. {claim.text}", *(claims[i].verdict for claims in claims_by_run)]
        for i, claim in enumerate(claims_by_run[0])
    ]
    return Grid("The paper's claims on each run alone", ["claim", *(run.name for run in runs)], rows)


def _params(runs: Sequence[Run]) -> Grid:
    """The params that differ between runs."""
    params_by_run = [dict(flat(_plain(run.made.params))) for run in runs]
    keys = dict.fromkeys(key for params in params_by_run for key in params)
    rows = [
        [key, *(params.get(key, "–") for params in params_by_run)]
        for key in keys
        if len({params.get(key) for params in params_by_run}) > 1
    ]
    return Grid("Params that differ", ["param", *(run.name for run in runs)], rows)


def _plain(text: str) -> Mapping[str, Any]:
    return yaml.safe_load(text) or {} if text else {}


def _facts(runs: Sequence[Run]) -> list[tuple[str, list[tuple[str, str]]]]:
    return [
        (run.name, [*([("revision", run.made.revision)] if run.made.revision else []), *flat(run.results.provenance)])
        for run in runs
    ]


def _suppressed(results: Results) -> Condition | None:
    return results.interventions.get("ss", {}).get("suppress")
