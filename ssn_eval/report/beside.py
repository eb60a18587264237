"""Additional content of a run's page: claims over seeds, the frontier of methods, the accuracy of the scorer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from ssn_eval.core import files, params
from ssn_eval.core.errors import FormatError, MismatchError
from ssn_eval.core.sweep import FrontierParams
from ssn_eval.report import frontier
from ssn_eval.report.grid import Grid
from ssn_eval.report.results import Results

CLAIMS, FRONTIER = Path("claims/claims.json"), Path("frontier/results/frontier.json")
"""the output files of `ssn claims` and `ssn frontier`, below the folder of the project"""
ACCURACY = "benchmarks/results/sketch_accuracy-*.json"
"""the output files of `benchmarks/sketch_accuracy.py`"""
_CLAIM = ("number", "claim", "verdict", "why", "parts")


class Frontier(NamedTuple):
    """The output of `ssn frontier`, and its settings."""

    found: Mapping[str, Any]
    settings: FrontierParams


@dataclass(frozen=True)
class Beside:
    """Everything that a page may show besides the folder of results; empty by default."""

    claims: Mapping[str, Any] | None = None
    """the output of `ssn claims`"""
    frontier: Frontier | None = None
    accuracy: Sequence[tuple[str, dict[str, float]]] = ()
    """(model, {"all" or a site: Spearman correlation with ablation})"""
    samples: bool = False
    """whether to show texts of samples, harmful completions included"""
    machine: bool = False
    """whether to show what differs between machines: times and the git revision"""


def read_claims(path: Path, results: Results) -> Mapping[str, Any]:
    """The claims of a file, after a check that they belong to the languages and neurons of a run.

    Raises:
        MissingInputError, FormatError: the file does not exist, or is not an output of `ssn claims`.
        MismatchError: the claims belong to other languages, or to another number of candidate neurons.
    """
    data = files.read_json(path, "an output of `ssn claims`")
    claims = data.get("claims") if isinstance(data, dict) else None
    if not isinstance(claims, list) or not all(isinstance(c, dict) and all(k in c for k in _CLAIM) for c in claims):
        raise FormatError(f"{path.as_posix()} is not an output of `ssn claims`; run it again.")
    run_neurons = (sorted(results.languages), results.select["candidates"])
    claim_neurons = (sorted(map(str, data.get("languages") or ())), data.get("candidates"))
    if run_neurons != claim_neurons:
        raise MismatchError(
            f"The claims in {path.as_posix()} belong to {', '.join(claim_neurons[0])} with {claim_neurons[1]} candidate neurons, but the run has "
            f"{', '.join(run_neurons[0])} with {run_neurons[1]}; run `ssn claims` with the params of the run."
        )
    return data


def read_frontier(path: Path) -> Frontier:
    """The frontier of a file.

    Raises:
        MissingInputError, FormatError: the file does not exist, or is not an output of `ssn frontier`.
        ParamsError: its settings are invalid.
    """
    data = files.read_json(path, "an output of `ssn frontier`")
    if not isinstance(data, dict) or not {"seeds", "scenarios", "settings"} <= data.keys():
        raise FormatError(f"{path.as_posix()} is not an output of `ssn frontier`; run it again.")
    return Frontier(data, params.build(FrontierParams, data["settings"], path.name))


def read_accuracy(path: Path) -> tuple[str, dict[str, float]]:
    """The name of a model, and the Spearman correlation of the scorer for all sites together and by site.

    Raises:
        MissingInputError, FormatError: the file does not exist, or is not an output of the benchmark.
    """
    data = files.read_json(path, "an output of benchmarks/sketch_accuracy.py")
    try:
        return str(data["model"]), {str(name): float(value) for name, value in data["spearman"].items()}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise FormatError(
            f"{path.as_posix()} is not an output of benchmarks/sketch_accuracy.py; run it again."
        ) from error


def frontier_grid(one: Frontier) -> Grid:
    """The terminal table of the frontier as a table for the page."""
    terminal_table = frontier.table(one.found, one.settings)
    header = [str(column.header) for column in terminal_table.columns]
    rows = [
        [str(cell) for cell in row] for row in zip(*(column.cells for column in terminal_table.columns), strict=True)
    ]
    scenario = ""
    for row in rows:  # the terminal table names a scenario once; the page names it in every row
        scenario = row[0] = row[0] or scenario
    return Grid(str(terminal_table.title), header, rows)
