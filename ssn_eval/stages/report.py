"""Stage 8: the report from all results. RESULTS OUT."""

from __future__ import annotations

from pathlib import Path

from ssn_eval.params import Params
from ssn_eval.stages.common import need, run


def main(settings: Params, results: Path, out: Path) -> None:  # noqa: ARG001
    """Write the page, figures, metrics and plot data, and print the table."""
    from rich.console import Console

    from ssn_eval.report import build, table

    build(need(results, "evaluate"), out)
    Console().print(table(results))
    print(f"Report: {(out / 'index.html').as_posix()}")


if __name__ == "__main__":
    run(main)
