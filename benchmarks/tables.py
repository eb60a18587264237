"""The documents' tables, made from `benchmarks/results/*.json`: `python benchmarks/tables.py [--check]`.

Each table stands between `<!-- NAME -->` and `<!-- /NAME -->` in one of `FILES`. `--check` writes nothing, and exits with 1 if a
table differs from the results.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
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
SITES = ("q_proj", "k_proj", "v_proj", "o_proj", "mlp")
NAMES = {"organism": "the organism", "smollm2": "SmolLM2-135M-Instruct", "gemma3_270m": "Gemma 3 270M"}


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


def load(name: str) -> Mapping[str, Any]:
    """A committed result."""
    return json.loads((RESULTS / f"{name}.json").read_text())


def rows(header: tuple[str, ...], body: list[tuple[str, ...]]) -> str:
    """A Markdown table."""
    lines = [header, ("---",) * len(header), *body]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def accuracy() -> str:
    """Sketch and closed forms against ablation."""
    header = ("model", "neurons ablated", "Spearman", "q / k / v / o / mlp", "top 3 % of a layer", "median estimate ÷ exact",
              "closed forms: Spearman", "their top 3 %")  # fmt: skip
    body = []
    for name, title in NAMES.items():
        r = load(f"sketch_accuracy-{name}")
        body.append(
            (
                title,
                f"{r['neurons']:,} in {r['layers']} layers",
                f"**{r['spearman']['all']:.3f}**",
                " / ".join(f"{r['spearman'][s]:.3f}"[1:] for s in SITES),
                f"{r['top3_overlap']:.2f}",
                f"{r['median_ratio']:.2f}",
                " / ".join(f"{r['local_spearman'][s]:.2f}" for s in SITES),
                f"{r['local_top3_overlap']:.2f}",
            )
        )
    return rows(header, body)


def speed() -> str:
    """The cost of scoring every neuron."""
    header = (
        "model",
        "neurons",
        "sketch ÷ forward pass",
        "÷ decoder alone",
        "cheaper than ablation (extrapolated)",
        "peak memory ÷ backward pass",
    )
    body = []
    for name in ("smollm2", "gemma3_270m"):
        r = load(f"sketch_speed-{name}")
        body.append(
            (
                NAMES[name],
                f"{r['neurons']:,}",
                f"{r['ratio_to_forward']:.1f}",
                f"{r['ratio_to_decoder']:.1f}",
                f"{r['cheaper_than_exact']:,} ×",
                f"{r['peak_memory_ratio']:.2f}",
            )
        )
    return rows(header, body)


def cost() -> str:
    """GPU-hours and memory of large models."""
    r = load("cost_model")
    header = ("model", "neurons, attention / both", "sketch, GPU-hours", "exact, attention / both", "weights, GiB",
              "activations, batch of 8, GiB", "with checkpointing")  # fmt: skip
    body = [
        (
            name,
            f"{m['neurons']['attention']:,} / {m['neurons']['both']:,}",
            f"**{m['gpu_hours']['sketch']:.2f}**",
            f"{m['gpu_hours']['exact']['attention']:,} / {m['gpu_hours']['exact']['both']:,}",
            f"{m['gib']['weights_bf16']:.0f}",
            f"{m['gib']['activations_batch_8']:.1f}",
            f"{m['gib']['activations_checkpointed']:.1f}",
        )
        for name, m in r["models"].items()
    ]
    return rows(header, body)


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
            gain_text = f" ({_spread(gain)})" if gain and method != "random" else ""
            cells.append(f"{100 * refusal['mean']:.0f}{gain_text}")
        body.append((scenario, f"{100 * results['base']['mean']:.0f}", *cells))
    return rows(header, body)


def _spread(value: Mapping[str, float]) -> str:
    """Mean ± half the 95 % interval, in points."""
    return f"{100 * value['mean']:+.0f} ± {50 * (value['high'] - value['low']):.0f}"


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


def organism_step() -> str:
    """Seconds of a training step of the organism."""
    seconds = load("organism_step")["seconds"]
    base = seconds["free"]["whole batch, all logits"]
    names = {"free": "free (AVX-512)", "pinned": "pinned (`AVX2,STRICT`)", "compatible": "`COMPATIBLE`"}
    ways = ("whole batch, all logits", "recipe")
    body = [
        (names[name], *(f"{seconds[name][way]:.2f} ({seconds[name][way] / base:.2f} ×)" for way in ways))
        for name in names
    ]
    return rows(("instructions", *ways), body)


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
                *(_percent(heldout["by_lang"][lang]["refusal"]) for lang in langs),
                _change(heldout),
                f"{100 * heldout['rates']['over_refusal']:.0f}",
                _percent(borderline["by_lang"]["en"]["harmless_refusal"]) if borderline else "–",
                _percent(borderline["by_lang"]["en"]["refusal"]) if borderline else "–",
                f"{heldout['rates']['kl']:.3f}",
            )
        )
    header = ("condition", *langs, "change over all [95 %]", "harmless", "XSTest safe", "JailbreakBench", "KL")
    return rows(header, body)


def _change(heldout: Mapping[str, Any]) -> str:
    """The change of refusal over all languages, in points, with its interval."""
    change = heldout.get("change", {}).get("all")
    return "–" if change is None else _points(change)


def real_seeds() -> str:
    """The change over all languages of the same conditions on every seed of the smaller model."""
    seeds = {seed: load(f"real_qwen_coder_05b{f'_{seed}' if seed else ''}") for seed in (0, 1, 2)}
    shared = [
        c for c in seeds[0]["conditions"] if c != "base" and all(c in one["conditions"] for one in seeds.values())
    ]
    body = [(_condition(c, {}), *(_change(one["conditions"][c]["heldout"]) for one in seeds.values())) for c in shared]
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
                    _change(parts["heldout"]),
                    f"{borderline['harmless_refusal']['successes']} of {borderline['harmless_refusal']['total']}",
                    _percent(borderline["refusal"]),
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
            body.append((label, str(seed), *(_points(parts[lang]) for lang in (*langs, "all"))))
    return rows(("both", "seed", *langs, "all languages [95 %]"), body)


def _points(change: Mapping[str, float]) -> str:
    """A difference in points with its interval."""
    return f"{100 * change['difference']:+.0f} [{100 * change['low']:.0f}, {100 * change['high']:.0f}]"


def stability() -> str:
    """Split-half Jaccard by prompts and probes at equal cost, the shared set."""
    body = []
    for name, title in {**NAMES, "qwen_coder_05b": "Qwen2.5-Coder 0.5B"}.items():
        for cost, measured in load(f"set_stability_{name}")["groups"].items():
            for row in measured:
                sets = [row[rule][key] for rule in ("paper", "contrast") for key in ("ms/en", "ss")]
                body.append(
                    (
                        title,
                        cost,
                        f"{row['prompts']} × {row['probes']}",
                        f"{row['seconds']:.0f}",
                        *("–" if one["jaccard"] is None else f"{one['jaccard']:.2f}" for one in sets),
                    )
                )
    header = (
        "model",
        "backward passes",
        "prompts × probes",
        "seconds",
        "MS of English",
        "SS",
        "contrast: English",
        "contrast: shared",
    )
    return rows(header, body)


def _condition(name: str, sizes: Mapping[str, int]) -> str:
    if name == "base":
        return name
    op, _, neurons = name.partition(" ")
    label = f"{neurons} ({sizes[neurons]:,})" if neurons in sizes else neurons
    return f"{label} suppressed" if op == "suppress" else f"{label} × {op.removeprefix('scale:')}"


def _percent(counts: Mapping[str, int]) -> str:
    return f"{100 * counts['successes'] / counts['total']:.0f}"


def overlap() -> str:
    """English prompts that two sets share; sets that share none with another have no row and no column."""
    data = load("overlap")
    counts = {(row["first"], row["second"]): row["shared"] for row in data["pairs"]}
    names = [name for name in data["prompts"] if any(name in pair for pair in counts)]
    columns = names[1:]
    body = [
        (f"{name} ({data['prompts'][name]:,})", *(str(counts.get((name, other), "")) for other in columns))
        for name in names[:-1]
        if any((name, other) in counts for other in columns)
    ]
    return rows(("prompts shared", *columns), body)


def engines() -> str:
    """Time, start-up and memory of `hf`, `ssn_hf`, `vllm` and `ssn_vllm`."""
    result = load("engines_qwen_coder_05b")
    body = [
        (
            f"`{name}`",
            f"{one['start_seconds']:.0f}",
            f"{one['cpu_seconds']:.0f}",
            f"{one['peak_memory'] / 2**30:.1f}",
        )
        for name, one in result["engines"].items()
    ]
    return rows(("engine", "start-up, wall seconds", "replies, CPU seconds", "peak memory, GiB"), body)


def refilling() -> str:
    """Other ways to make a batch against whole batches."""
    r = load("refilling_qwen_coder_05b")
    body = [
        (
            way,
            f"{r['passes'][way]:,}",
            f"{r['rows'][way]:,}",
            f"{r['ratios'][way]:.2f} ×",
            f"{100 * r['equal'][way]:.0f} %",
            f"{100 * r['verdicts_equal'][way]:.0f} %",
        )
        for way in r["passes"]
    ]
    return rows(("batches", "passes", "rows in them", "time", "equal replies", "equal verdicts"), body)


def train_memory() -> str:
    """Peak memory of a neuron-LoRA step in one pass, and in micro-batches with checkpointing, by tokens."""
    body = []
    for tokens, sides in load("train_memory_qwen_coder_05b")["tokens"].items():
        seconds = [sides[side].get("seconds") for side in ("whole", "fitting")]
        slower = f"{seconds[1] / seconds[0]:.1f} ×" if None not in seconds else "–"
        body.append((tokens, _peak(sides["whole"]), _peak(sides["fitting"]), f"{sides['ratio']:.2f}", slower))
    header = ("tokens of a pair", "in one pass, GiB", "in parts of one, checkpointing, GiB", "ratio", "time")
    return rows(header, body)


def _peak(side: Mapping[str, Any]) -> str:
    return f"{side['peak_gib']:.2f}" if "peak_gib" in side else f"{side['extrapolated']:.1f} (extrapolated)"


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
                _points(compared["against_base"]["nhr"]) if compared else "–",
                "; ".join(_points(change) for change in controls) or "–",
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
                _spread(gain) if gain and name != "random" else "–",
                f"{100 * area['mean']:.0f}",
            )
        )
    header = ("trained", "parameters", "refused, mean (by seed), %", "minus random", "area")
    return rows(header, body)


TABLES: Mapping[str, Callable[[], str]] = {
    "accuracy": accuracy,
    "speed": speed,
    "cost": cost,
    "claims": claims,
    "verdicts": verdicts,
    "frontier": frontier,
    "organism_step": organism_step,
    "sites": sites,
    "real": lambda: real("real_qwen_coder_05b"),
    "real_15b": lambda: real("real_qwen_coder_15b"),
    "real_seeds": real_seeds,
    "real_norms": real_norms,
    "contrast_05b": lambda: contrast_minus_ss("real_claims_qwen_coder_05b"),
    "contrast_15b": lambda: contrast_minus_ss("real_claims_qwen_coder_15b"),
    "verdicts_15b": lambda: verdicts("real_claims_qwen_coder_15b"),
    "overlap": overlap,
    "engines": engines,
    "refilling": refilling,
    "train_memory": train_memory,
    "real_training": real_training,
    "frontier_methods": frontier_methods,
}


if __name__ == "__main__":
    main()
