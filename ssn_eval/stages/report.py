"""Stage 8: the report from all results. RESULTS OUT."""

from __future__ import annotations

from pathlib import Path

from ssn_eval.core.params import Params
from ssn_eval.stages.common import need, run_stage


def main(settings: Params, results: Path, out: Path) -> str:
    """Write the page, figures, metrics and plot data, and print the table; return the place of the page."""
    from rich.console import Console

    from ssn_eval.report.page import build
    from ssn_eval.report.results import read
    from ssn_eval.report.summary import table

    sets, methods = settings.validate.names, settings.train.methods
    build(need(results, "evaluate"), out, sets=sets, methods=methods, compared=settings.agreement)
    Console().print(table(read(results, sets, methods)))
    return f"the page is {(out / 'index.html').as_posix()}"


if __name__ == "__main__":
    run_stage(main)
