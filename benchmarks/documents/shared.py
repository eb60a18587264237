"""What the tables share: committed results, and numbers as text."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parents[1] / "results"


NAMES = {"organism": "the organism", "smollm2": "SmolLM2-135M-Instruct", "gemma3_270m": "Gemma 3 270M"}


METHOD_NAMES = {
    "base": "base",
    "ssn": "SS",
    "random": "random 0, as many as SS",
    "ss.random_1": "random 1, as many as SS",
    "contrast": "contrast",
    "contrast.random_0": "random, as many as contrast",
    "ms_hr": "MS of English",
    "tied": "SS, `tied`",
    "tied_random": "random 0, `tied`",
    "mlc_ssn": "SS, `mlc`",
    "lora": "LoRA of rank 8",
    "sft_ablated": "`sft_ablated` with SS",
    "sft_ablated_random": "`sft_ablated` with random 0",
    "complement": "all but SS (`complement`)",
    "complement_random": "all but random 0",
    "full": "all weights",
    "mlc": "all weights, `mlc`",
    "pathway": "pathway of English",
    "ssn.without_th": "SS without Thai",
    "ssn.without_zh": "SS without Chinese",
    "ssn.without_ko": "SS without Korean",
}


def load(name: str) -> Mapping[str, Any]:
    """A committed result."""
    return json.loads((RESULTS / f"{name}.json").read_text())


def rows(header: tuple[str, ...], body: list[tuple[str, ...]]) -> str:
    """A Markdown table."""
    lines = [header, ("---",) * len(header), *body]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def percent(counts: Mapping[str, int]) -> str:
    """A share as whole per cent."""
    return f"{100 * counts['successes'] / counts['total']:.0f}"


def points(change: Mapping[str, float]) -> str:
    """A difference in points with its interval."""
    return f"{100 * change['difference']:+.0f} [{100 * change['low']:.0f}, {100 * change['high']:.0f}]"


def change(heldout: Mapping[str, Any]) -> str:
    """The change of refusal over all languages, in points, with its interval."""
    change = heldout.get("change", {}).get("all")
    return "–" if change is None else points(change)


def spread(value: Mapping[str, float]) -> str:
    """Mean ± half the 95 % interval, in points."""
    return f"{100 * value['mean']:+.0f} ± {50 * (value['high'] - value['low']):.0f}"
