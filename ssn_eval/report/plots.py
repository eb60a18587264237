"""The tables for `dvc plots`, as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Any

from ssn_eval.report.results import Results


def refusal(results: Results) -> str:
    """Refusal of harmful held-out prompts, one row per language and condition."""
    rows = [
        (lang, c.name, f"{r.value:.4f}")
        for c in results.rows()
        for lang in results.languages
        if (r := c.rate(lang, "refusal"))
    ]
    return _csv(("lang", "variant", "refusal"), rows)


def loss(results: Results) -> str:
    """Training loss, one row per method and step."""
    curves = ((m, e["step"], e["loss"]) for m, t in results.training.items() for e in t["loss"])
    return _csv(("method", "step", "loss"), curves)


def _csv(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()
