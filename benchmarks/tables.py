"""The documents' tables, made from `benchmarks/results/*.json`: `python benchmarks/tables.py [--check]`.

Each table stands between `<!-- NAME -->` and `<!-- /NAME -->` in one of `FILES`. `--check` writes nothing, and exits with 1 if a
table differs from the results.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from documents import engines, methods, organism, real, sketch

ROOT = Path(__file__).resolve().parents[1]
FILES = (
    *(
        "docs/results.md",
        "docs/data.md",
        "docs/scale.md",
        "docs/train.md",
        "docs/interventions.md",
        "docs/howto/vllm.md",
    ),
    "docs/decisions/0005-same-numbers-everywhere.md",
)


def main() -> None:
    """Write the tables, or check them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    stale = [name for name in FILES if filled((ROOT / name).read_text()) != (ROOT / name).read_text()]
    if options.check:
        sys.exit(f"Stale tables in {', '.join(stale)}; run python benchmarks/tables.py." if stale else 0)
    for name in stale:
        (ROOT / name).write_text(filled((ROOT / name).read_text()))
    print(json.dumps({"written": stale}))


def filled(text: str) -> str:
    """A document with every table made from the results."""
    for name, table in TABLES.items():
        pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
        if match := pattern.search(text):
            text = text[: match.start()] + match[1] + table() + match[2] + text[match.end() :]
    return text


TABLES: Mapping[str, Callable[[], str]] = {
    "accuracy": sketch.accuracy,
    "speed": sketch.speed,
    "cost": sketch.cost,
    "claims": organism.claims,
    "verdicts": organism.verdicts,
    "frontier": organism.frontier,
    "organism_step": sketch.organism_step,
    "sites": organism.sites,
    "real": lambda: real.real("real_qwen_coder_05b"),
    "real_15b": lambda: real.real("real_qwen_coder_15b"),
    "real_seeds": real.real_seeds,
    "real_norms": real.real_norms,
    "contrast_05b": lambda: real.contrast_minus_ss("real_claims_qwen_coder_05b"),
    "contrast_15b": lambda: real.contrast_minus_ss("real_claims_qwen_coder_15b"),
    "verdicts_15b": lambda: organism.verdicts("real_claims_qwen_coder_15b"),
    "overlap": engines.overlap,
    "engines": engines.engines,
    "refilling": engines.refilling,
    "train_memory": engines.train_memory,
    "real_training": real.real_training,
    "real_methods": methods.ways,
    "real_edits": methods.edits,
    "frontier_methods": organism.frontier_methods,
}


if __name__ == "__main__":
    main()
