"""Tables on ways of choosing, directions and edits on the real 0.5B model, over seeds (docs/decisions/0011)."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from documents.shared import RESULTS, rows

WAYS = {
    "paper": "the sketch, `paper`",
    "contrast": "the sketch, `contrast`",
    "effect_size@activation": "activations, `effect_size`",
    "shift@activation": "activations, `shift`",
    "activation_gap@activation": "activations, `activation_gap`",
    "paper@attribution": "attribution, `paper`",
    "pathway": "`paper` on a pathway",
    "model_diff:lora": "`model_diff` against LoRA",
}
EDITS = {
    "direction:ablate": "direction ablated",
    "direction:add:1": "direction added",
    "sparse": "`ssn edit sparse`, SS",
    "transplant": "`ssn edit transplant`, SS",
}
Seed = Mapping[str, Any]


def seeds() -> list[Seed]:
    """The committed results, one for each seed."""
    return [json.loads(p.read_text()) for p in sorted(RESULTS.glob("real_methods_qwen_coder_05b_*.json"))]


def ways() -> str:
    """Every way of choosing: its size and stability, and what suppressing and doubling its set does."""
    found, body = seeds(), []
    for name, title in WAYS.items():
        sets = [seed["sets"].get(name) for seed in found]
        cells = [title, _each(sets, lambda s: f"{s['size']:,}"), _each(sets, _stability)]
        for op in ("suppress", "scale:2"):
            conditions = [seed["conditions"].get(f"{op} {name}") for seed in found]
            cells += [_each(conditions, _rise), _beyond(conditions)]
        doubled = [seed["conditions"].get(f"scale:2 {name}") for seed in found]
        body.append((*cells, _each(doubled, _harmless), _each(doubled, _safe)))
    header = (
        *("the set", "neurons", "stability ÷ chance", "suppressed: change", "minus random"),
        *("doubled: change", "minus random", "harmless refused, %", "XSTest-safe refused, %"),
    )
    base = ["base", *[""] * 6, _each([seed["conditions"]["base"] for seed in found], _harmless)]
    return rows(header, [(*base, _each([seed["conditions"]["base"] for seed in found], _safe)), *body])


def edits() -> str:
    """The refusal direction, and edits of the weights."""
    found, body = seeds(), []
    for name, title in EDITS.items():
        conditions = [_condition(seed, name) for seed in found]
        if any(conditions):
            cells = (_each(conditions, _rise), _beyond(conditions), _each(conditions, _harmless))
            body.append((title, *cells, _each(conditions, _safe), _each(conditions, _kl)))
    return rows(("what", "change", "minus random", "harmless refused, %", "XSTest-safe refused, %", "KL"), body)


def _condition(seed: Seed, name: str) -> Mapping[str, Any] | None:
    found = seed["conditions"].get(name) or seed["conditions"].get(f"{name} ss")
    return found if found and "heldout" in found else None


def _each(values: Sequence[Any], text: Callable[[Any], str]) -> str:
    """One text for each seed, a dash where there is nothing."""
    return ", ".join("–" if value is None else text(value) for value in values)


def _beyond(conditions: Sequence[Mapping[str, Any] | None]) -> str:
    """The differences to the control, and on how many seeds the interval leaves out zero."""
    found = [c["beyond_control"]["all"] for c in conditions if c and "beyond_control" in c]
    if not found:
        return "–"
    clear = sum(one["low"] > 0 or one["high"] < 0 for one in found)
    return f"{', '.join(map(_signed, found))} ({clear} of {len(found)} clear)"


def _rise(condition: Mapping[str, Any]) -> str:
    return _signed(condition["heldout"]["change"]["all"])


def _signed(found: Mapping[str, float]) -> str:
    return f"{100 * found['difference']:+.0f}"


def _harmless(condition: Mapping[str, Any]) -> str:
    return f"{100 * condition['heldout']['rates']['over_refusal']:.0f}"


def _kl(condition: Mapping[str, Any]) -> str:
    return f"{condition['heldout']['rates']['kl']:.3f}"


def _safe(condition: Mapping[str, Any]) -> str:
    if "borderline" not in condition:
        return "–"
    return f"{100 * condition['borderline']['rates']['over_refusal']:.0f}"


def _stability(found: Mapping[str, Any]) -> str:
    stable = found["stability"]
    return "–" if not stable else f"{stable['jaccard']:.2f} ÷ {stable['chance']:.3f}"
