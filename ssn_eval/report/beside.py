"""What stands beside a run's own results on its page: claims over seeds, the frontier of methods, the scorer's accuracy."""

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
"""where `ssn claims` and `ssn frontier` leave their numbers, below the project's folder"""
ACCURACY = "benchmarks/results/sketch_accuracy-*.json"
"""where `benchmarks/sketch_accuracy.py` leaves its own"""
_CLAIM = ("number", "claim", "verdict", "why", "parts")


class Frontier(NamedTuple):
    """What `ssn frontier` wrote, and the settings that it ran with."""

    found: Mapping[str, Any]
    settings: FrontierParams


@dataclass(frozen=True)
class Beside:
    """Everything that a page may show and that is not in the folder of results; empty by default."""

    claims: Mapping[str, Any] | None = None
    """what `ssn claims` wrote"""
    frontier: Frontier | None = None
    accuracy: Sequence[tuple[str, dict[str, float]]] = ()
    """(model, {"all" or a site: Spearman correlation with ablation})"""
    samples: bool = False
    """texts of samples, harmful completions among them"""
    machine: bool = False
    """what differs between machines: times and the git revision"""


def read_claims(path: Path, results: Results) -> Mapping[str, Any]:
    """Read the claims of a run's languages.

    Raises:
        MissingInputError, FormatError: no such file, or it is not what `ssn claims` writes.
        MismatchError: the claims are of other languages, or of a model with other neurons.
    """
    data = files.read_json(path, "what `ssn claims` wrote")
    claims = data.get("claims") if isinstance(data, dict) else None
    if not isinstance(claims, list) or not all(isinstance(c, dict) and all(k in c for k in _CLAIM) for c in claims):
        raise FormatError(f"{path.as_posix()} is not what `ssn claims` writes; run it again.")
    mine = (sorted(results.languages), results.select["candidates"])
    theirs = (sorted(map(str, data.get("languages") or ())), data.get("candidates"))
    if mine != theirs:
        raise MismatchError(
            f"The claims in {path.as_posix()} are of {', '.join(theirs[0])} with {theirs[1]} candidate neurons, and the run is of "
            f"{', '.join(mine[0])} with {mine[1]}; run `ssn claims` with the run's params."
        )
    return data


def read_frontier(path: Path) -> Frontier:
    """Read a frontier.

    Raises:
        MissingInputError, FormatError: no such file, or it is not what `ssn frontier` writes.
        ParamsError: its settings are not ours.
    """
    data = files.read_json(path, "what `ssn frontier` wrote")
    if not isinstance(data, dict) or not {"seeds", "scenarios", "settings"} <= data.keys():
        raise FormatError(f"{path.as_posix()} is not what `ssn frontier` writes; run it again.")
    return Frontier(data, params.build(FrontierParams, data["settings"], path.name))


def read_accuracy(path: Path) -> tuple[str, dict[str, float]]:
    """Read one model's accuracy.

    Raises:
        MissingInputError, FormatError: no such file, or it is not what the benchmark writes.
    """
    data = files.read_json(path, "what benchmarks/sketch_accuracy.py wrote")
    try:
        return str(data["model"]), {str(name): float(value) for name, value in data["spearman"].items()}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise FormatError(f"{path.as_posix()} is not what benchmarks/sketch_accuracy.py writes.") from error


def frontier_grid(one: Frontier) -> Grid:
    """The frontier's table for a terminal, as one for the page."""
    shown = frontier.table(one.found, one.settings)
    header = [str(column.header) for column in shown.columns]
    rows = [[str(cell) for cell in row] for row in zip(*(column.cells for column in shown.columns), strict=True)]
    scenario = ""
    for row in rows:  # the terminal names a scenario once; a row of the page stands for itself
        scenario = row[0] = row[0] or scenario
    return Grid(str(shown.title), header, rows)
