"""The picture of a real model: refusal by language with SS and contrast neurons suppressed and doubled, beside matched random neurons.

python experiments/real_figure.py benchmarks/results/real_qwen_coder_15b.json --out docs/real_model.png`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ssn_eval.core.statistics import wilson
from ssn_eval.report import charts
from ssn_eval.report.charts import Spec
from ssn_eval.report.figures import by_rate

SETS = {"ss": "SS", "contrast": "contrast", "random_0": "random neurons"}
PANELS = {"suppress": "neurons suppressed", "scale:2": "the same neurons doubled"}
"""op → title"""


def picture(found: Mapping[str, Any]) -> Spec:
    """Two panels: harmful prompts refused by language, with Wilson 95 % intervals."""
    names = ["the model as it is", *SETS.values()]
    views = [
        by_rate(found["languages"], names, values(found, op, names), f"harmful prompts refused, {title}", width=420)
        for op, title in PANELS.items()
    ]
    return charts.chart(views, names, columns=2)


def values(found: Mapping[str, Any], op: str, names: Sequence[str]) -> list[Spec]:
    """The points of one panel."""
    conditions = [found["conditions"]["base"], *(found["conditions"][f"{op} {name}"] for name in SETS)]
    return [
        charts.rate_values(name, lang, wilson(**condition["heldout"]["by_lang"][lang]["refusal"]))
        for name, condition in zip(names, conditions, strict=True)
        for lang in found["languages"]
    ]


def main() -> None:
    """Draw the picture as PNG."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("result", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    found = json.loads(given.result.read_text(encoding="utf-8"))
    given.out.write_bytes(charts.png(charts.svg(picture(found))))


if __name__ == "__main__":
    main()
