"""The verdicts on the paper's claims from runs of `real_model.py`, one run a seed: `python experiments/real_claims.py RUN RUN … --out FILE`.

The rule is that of `ssn claims` (docs/report.md). What the runs did not measure, such as training, is named and gets no verdict. Beside them: contrast against
SS on the same prompts, for every op of both.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from ssn_eval.core import files
from ssn_eval.report import claims, paper
from ssn_eval.report.results import Results, read


def shared_ops(runs: Sequence[Results]) -> list[str]:
    """The ops that every run measured on SS and on contrast."""
    return [
        op
        for op in runs[0].interventions["ss"]
        if all(op in run.interventions[name] for run in runs for name in ("ss", "contrast"))
    ]


def against(run: Results, op: str) -> dict[str, dict[str, float]]:
    """Refusal with contrast under an op minus refusal with SS under it, by language and over all, with paired intervals."""
    ss, contrast = (run.interventions[name][op] for name in ("ss", "contrast"))
    parts = {lang: [lang] for lang in run.languages} | {"all": list(run.languages)}
    changes = {name: ss.change(contrast, langs) for name, langs in parts.items()}
    return {
        name: {"difference": round(c.value, 4), "low": round(c.low, 4), "high": round(c.high, 4)}
        for name, c in changes.items()
        if c
    }


def main() -> None:
    """Write the table and the verdicts as JSON, and print the verdicts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "runs", type=Path, nargs="+", help="working folders of real_model.py, in the order of their seeds"
    )
    parser.add_argument("--first-seed", type=int, default=0, help="the seed of the first run; the next ones follow it")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    runs = {seed: read(run / "results") for seed, run in enumerate(given.runs, given.first_seed)}
    languages = list(next(iter(runs.values())).languages)
    one = {
        "seeds": [0],
        "languages": languages,
        "claims": [claim.to_json() for claim in paper.judge(list(runs.values()))],
    }
    found = claims.claims(runs) if len(runs) > 1 else one
    found["contrast_minus_ss"] = {
        op: [against(run, op) for run in runs.values()] for op in shared_ops(list(runs.values()))
    }
    files.write_json(given.out, found)
    print("\n".join(claims.sentences(found)))


if __name__ == "__main__":
    main()
