"""Tables on real chat models."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import Any

from documents.shared import METHOD_NAMES, change, load, percent, points, rows


def real(name: str) -> str:
    """The conditions of docs/decisions/0007 and 0008: harmful prompts refused by language, the change over all, and the price."""
    found = load(name)
    langs, sizes = found["languages"], found["sizes"]
    body = []
    for condition, parts in found["conditions"].items():
        heldout, borderline = parts["heldout"], parts.get("borderline")
        body.append(
            (
                _condition(condition, sizes),
                *(percent(heldout["by_lang"][lang]["refusal"]) for lang in langs),
                change(heldout),
                f"{100 * heldout['rates']['over_refusal']:.0f}",
                percent(borderline["by_lang"]["en"]["harmless_refusal"]) if borderline else "–",
                percent(borderline["by_lang"]["en"]["refusal"]) if borderline else "–",
                f"{heldout['rates']['kl']:.3f}",
            )
        )
    header = ("condition", *langs, "change over all [95 %]", "harmless", "XSTest safe", "JailbreakBench", "KL")
    return rows(header, body)


def real_seeds() -> str:
    """The change over all languages of the same conditions on every seed of the smaller model."""
    seeds = {seed: load(f"real_qwen_coder_05b{f'_{seed}' if seed else ''}") for seed in (0, 1, 2)}
    shared = [
        c for c in seeds[0]["conditions"] if c != "base" and all(c in one["conditions"] for one in seeds.values())
    ]
    body = [(_condition(c, {}), *(change(one["conditions"][c]["heldout"]) for one in seeds.values())) for c in shared]
    return rows(("condition", *(f"seed {seed}" for seed in seeds)), body)


def real_norms() -> str:
    """Sets found against plain and against borderline harmless prompts, multiplied: refusal against the price."""
    body = []
    for norm in ("plain", "borderline"):
        found = load(f"real_norms_qwen_coder_05b_{norm}")
        for condition, parts in found["conditions"].items():
            if condition == "base" and norm != "plain":
                continue
            borderline = parts["borderline"]["by_lang"]["en"]
            body.append(
                (
                    "–" if condition == "base" else norm,
                    _condition(condition, found["sizes"]),
                    f"{100 * parts['heldout']['rates']['refusal']:.0f}",
                    change(parts["heldout"]),
                    f"{borderline['harmless_refusal']['successes']} of {borderline['harmless_refusal']['total']}",
                    percent(borderline["refusal"]),
                )
            )
    header = ("found against", "condition", "harmful refused", "change [95 %]", "XSTest safe refused", "JailbreakBench")
    return rows(header, body)


def contrast_minus_ss(name: str) -> str:
    """Refusal with contrast under an op minus refusal with SS under it, on the same prompts; a row for each op and seed."""
    found = load(name)
    langs = found["languages"]
    body = []
    for op, runs in found["contrast_minus_ss"].items():
        for seed, parts in zip(found["seeds"], runs, strict=True):
            label = "suppressed" if op == "suppress" else f"× {op.removeprefix('scale:')}"
            body.append((label, str(seed), *(points(parts[lang]) for lang in (*langs, "all"))))
    return rows(("both", "seed", *langs, "all languages [95 %]"), body)


def _condition(name: str, sizes: Mapping[str, int]) -> str:
    if name == "base":
        return name
    op, _, neurons = name.partition(" ")
    label = f"{neurons} ({sizes[neurons]:,})" if neurons in sizes else neurons
    return f"{label} suppressed" if op == "suppress" else f"{label} × {op.removeprefix('scale:')}"


def real_training() -> str:
    """A real model trained by every method: refusal against the base and against random neurons, and the price."""
    found = load("real_training_qwen_coder_05b")
    header = (
        "trained",
        "parameters",
        "harmful refused, %",
        "change",
        "minus random",
        "harmless refused, %",
        "harmful minus harmless",
        "XSTest-safe refused",
        "JailbreakBench refused",
        "KL",
    )
    body = []
    for name in sorted(found["methods"], key=list(METHOD_NAMES).index):
        entry = found["methods"][name]
        by_lang, english = entry["heldout"]["by_lang"], entry["borderline"]["by_lang"]["en"]
        weaker = [by_lang[lang] for lang in found["languages"] if lang != "en"]
        refusal, harmless = (_mean_share(weaker, label) for label in ("refusal", "harmless_refusal"))
        compared = found["compared"].get(name, {})
        share = entry.get("trainable") and f"{100 * entry['trainable'] / entry['parameters']:.2f} %"
        controls = compared.get("against_controls", {}).values()
        body.append(
            (
                METHOD_NAMES[name],
                share or "–",
                f"{100 * refusal:.0f}",
                points(compared["against_base"]["nhr"]) if compared else "–",
                "; ".join(points(change) for change in controls) or "–",
                f"{100 * harmless:.0f}",
                f"{100 * (refusal - harmless):.0f}",
                "{successes} of {total}".format(**english["harmless_refusal"]),
                "{successes} of {total}".format(**english["refusal"]),
                f"{entry['heldout']['rates']['kl']:.2f}",
            )
        )
    return rows(header, body)


def _mean_share(by_lang: list[Mapping[str, Any]], label: str) -> float:
    return statistics.mean(counts[label]["successes"] / counts[label]["total"] for counts in by_lang)
