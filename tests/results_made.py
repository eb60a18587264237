"""What a finished pipeline leaves in `results`, made of numbers whose answer is known.

Suppressing SS beats every random control, and training SS works. Three languages, 40 prompts each.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ssn_eval.report.charts import Drawn
    from ssn_eval.report.page import Rendered

LANGS = ("en", "zh", "sw")
PROMPTS = 40


def counts(refused: dict[str, int], harmless: int = 1, capable: int | None = 38) -> dict[str, Any]:
    """One condition in which the first `refused[lang]` of 40 prompts are refused."""
    by_lang = {
        lang: {
            "refusal": {"successes": refused[lang], "total": PROMPTS},
            "harmless_refusal": {"successes": harmless, "total": PROMPTS},
            "capability": None if capable is None else {"successes": capable, "total": PROMPTS},
            "invalid": {"successes": 0, "total": 2 * PROMPTS},
            "unscored": 1,
        }
        for lang in LANGS
    }
    return {
        "by_lang": by_lang,
        "verdicts": {lang: {f"p{i}": int(i < refused[lang]) for i in range(PROMPTS)} for lang in LANGS},
    }


def rates(en: int, zh: int, sw: int) -> dict[str, int]:
    return {"en": en, "zh": zh, "sw": sw}


def write(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")


SELECT: dict[str, Any] = {
    "hr": "en",
    "languages": list(LANGS),
    "sizes": {"ms": rates(30, 25, 20), "ss": {"zh": 7, "sw": 4}, "private": {"zh": 18, "sw": 16}},
    "named": {"ms_hr": 30, "ss": 9, "private": 30, "random_0": 9},
    "per_layer": {"ms_hr": {"0": 10, "2": 20}, "ss": {"0": 3, "2": 6}},
    "per_key": {"ss": {"layers.0.q_proj": 3, "layers.2.mlp": 6}, "ms_hr": {"layers.0.q_proj": 10, "layers.2.mlp": 20}},
    "jaccard": {a: {b: 1.0 if a == b else 0.25 for b in LANGS} for a in LANGS},
    "sensitivity": [
        {"p": p, "sites": sites, "lang": lang, "ms": int(10 * p), "ss": int(4 * p)}
        for sites in ("both", "attention")
        for p in (1.0, 3.0)
        for lang in LANGS
    ],
    "candidates": 900,
    "model": {"id": "tiny <model>", "geometry": {"layers": 3, "sites": {"q_proj": 16, "mlp": 32}}},
    "provenance": {"versions": {"torch": "0.0.1"}, "p": 3.0},
}


def make(folder: Path) -> Path:
    """A whole pipeline's results in `folder`."""
    write(folder / "select.json", SELECT)
    evaluated = {"base": rates(40, 32, 20), "ssn": rates(40, 39, 38), "full": rates(40, 40, 40)}
    for name, refused in evaluated.items():
        condition = counts(refused, harmless=40 if name == "full" else 1)
        write(
            folder / "evaluate" / f"{name}.json",
            {"variant": name, **condition, "model": {"op": "none"}, "provenance": {"seed": 0}},
        )
    for name in ("ss", "random_0", "random_1", "ms_hr", "private"):
        ss = name == "ss"
        conditions = {
            "suppress": counts(rates(8, 4, 2) if ss else rates(40, 30, 19)),
            "scale:10": counts(rates(40, 40, 40), capable=3),
            "scale:2": counts(rates(40, 36, 28) if ss else rates(40, 32, 20), capable=30),
        }
        empty = name == "private"
        write(
            folder / "validate" / f"{name}.json",
            {"set": name, "size": 0 if empty else 9, "conditions": {} if empty else conditions},
        )
    for name, trainable in (("ssn", 500), ("full", 100_000)):
        curve = [{"step": step, "loss": 2.0 / step} for step in (1, 2, 3)]
        write(
            folder / "train" / f"{name}.json",
            {"method": name, "trainable": trainable, "parameters": 100_000, "loss": curve},
        )
    return folder


def add_samples(results: Path) -> None:
    """The replies of every prompt under the conditions whose texts the report may show, where the pipeline leaves them."""
    for name, condition, refused in (
        ("evaluate/base", "base", rates(40, 32, 20)),
        ("evaluate/ssn", "train ssn", rates(40, 39, 38)),
        ("validate/ss", "suppress ss", rates(8, 4, 2)),
    ):
        rows = [
            {
                "condition": condition,
                "label": "harmful",
                "lang": lang,
                "id": f"p{i}",
                "prompt": f"<question> {i} in {lang}",
                "response": "no" if i < refused[lang] else f"reply {i} under {condition}",
                "refusal": i < refused[lang],
                "tags": ["theft"],
            }
            for lang in LANGS
            for i in range(PROMPTS)
        ]
        path = results.parent / "artifacts" / "samples" / f"{name}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def undrawn(drawn: Mapping[str, Drawn]) -> dict[str, Rendered]:
    """In place of `page.rendered`, for tests of words and numbers: drawing takes most of a report's time."""
    from ssn_eval.report.page import Rendered

    return {name: Rendered(b'<svg viewBox="0 0 1 1"></svg>', b"", one.alt, one.spec) for name, one in drawn.items()}
