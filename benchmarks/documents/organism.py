"""Tables on the organism: claims, sites, the frontier of methods."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import Any

from documents.shared import METHOD_NAMES, load, rows, spread


def claims() -> str:
    """The pipeline over seeds: refusal by language, harmless refusal and capability, mean and range over seeds."""
    r = load("claims")
    columns = [*r["languages"], "harmless", "capability"]
    body = [(name, *(_range(r["conditions"][name][c]) for c in columns)) for name in r["main"]]
    return rows(("condition", *columns), body)


def verdicts(name: str = "claims") -> str:
    """The verdict on each claim of the paper, over the seeds."""

    def escaped(text: str) -> str:
        return text.replace("|", "\\|").replace("<", "&lt;")

    body = [(f"{c['number']}. {c['claim']}", c["verdict"], escaped(c["why"])) for c in load(name)["claims"]]
    return rows(("claim of the paper", "verdict", "why"), body)


def _range(value: Mapping[str, Any] | None) -> str:
    if value is None:
        return "–"
    low, high = (round(100 * f(value["values"])) for f in (min, max))
    return f"{100 * value['mean']:.0f}" + ("" if low == high else f" ({low}–{high})")


def frontier() -> str:
    """The frontier of each training method, from `ssn frontier`."""
    scenarios = load("frontier")["scenarios"]
    names = {"ssn": "SS", "ms_hr": "MS of HR", "random": "random, as many as SS", "lora": "LoRA", "full": "all weights"}
    header = ("scenario", "base", *names.values())
    body = []
    for scenario, results in scenarios.items():
        cells = []
        for method in names:
            refusal = results["methods"][method]["at"]["0.05"]
            gain = refusal.get("minus_random")
            gain_text = f" ({spread(gain)})" if gain and method != "random" else ""
            cells.append(f"{100 * refusal['mean']:.0f}{gain_text}")
        body.append((scenario, f"{100 * results['base']['mean']:.0f}", *cells))
    return rows(header, body)


def sites() -> str:
    """SS found on attention sites, on MLP sites and on both, suppressed on the organism; means over seeds (lowest–highest)."""
    seeds = list(load("sites").values())
    body = []
    for name in seeds[0]:
        runs = [seed[name] for seed in seeds]
        weaker = [statistics.mean(rate for lang, rate in run["refusal"].items() if lang != "en") for run in runs]
        body.append(
            (
                name,
                _over_seeds([run["neurons"] for run in runs]),
                _over_seeds([run["refusal"]["en"] for run in runs]),
                _over_seeds(weaker),
                _over_seeds([min(run["capability"].values()) for run in runs]),
            )
        )
    header = (
        "SS found on",
        "neurons suppressed",
        "refusal en",
        "refusal, mean of the weaker five",
        "capability of the worst language",
    )
    return rows(header, body)


def _over_seeds(values: list[float]) -> str:
    return f"{statistics.mean(values):.0f} ({min(values):.0f}–{max(values):.0f})"


def frontier_methods() -> str:
    """The methods of other papers on the organism's frontier, each beside as many random neurons."""
    found = load("frontier_methods")["scenarios"]["replay"]
    base = found["base"]
    body = [("base", "–", f"{100 * base['mean']:.0f}", "–", "–")]
    for name, method in found["methods"].items():
        at, area = method["at"]["0.05"], method["area"]
        gain = at.get("minus_random")
        body.append(
            (
                METHOD_NAMES[name],
                f"{100 * max(method['trainable']) / max(method['parameters']):.2f} %",
                f"{100 * at['mean']:.0f} ({', '.join(f'{100 * value:.0f}' for value in at['values'])})",
                spread(gain) if gain and name != "random" else "–",
                f"{100 * area['mean']:.0f}",
            )
        )
    header = ("trained", "parameters", "refused, mean (by seed), %", "minus random", "area")
    return rows(header, body)
