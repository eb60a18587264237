"""Tables on the accuracy and the cost of the scorers."""

from __future__ import annotations

from documents.shared import NAMES, load, rows

SITES = ("q_proj", "k_proj", "v_proj", "o_proj", "mlp")


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
