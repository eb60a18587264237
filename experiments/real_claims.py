"""The verdicts on the paper's claims from runs of `real_model.py`, one run a seed: `python experiments/real_claims.py RUN RUN … --out FILE`.

The rule is that of `ssn claims` (docs/report.md). What the runs did not measure, such as training, is named and gets no verdict.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from ssn_eval.core import files
from ssn_eval.report import claims, paper
from ssn_eval.report.results import read


def main() -> None:
    """Write the table and the verdicts as JSON, and print the verdicts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "runs", type=Path, nargs="+", help="working folders of real_model.py, in the order of their seeds"
    )
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    runs = {seed: read(run / "results") for seed, run in enumerate(given.runs)}
    one = {"seeds": [0], "claims": [claim.to_json() for claim in paper.judge(list(runs.values()))]}
    found = claims.claims(runs) if len(runs) > 1 else one
    files.write_json(given.out, found)
    print("\n".join(claims.sentences(found)))


if __name__ == "__main__":
    main()
