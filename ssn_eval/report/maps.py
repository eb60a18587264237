"""The charts of neurons: their places, their overlap between languages, the stability of the sets, and ASR against |SS|."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from ssn_eval.core.neurons import SITES, parse_key
from ssn_eval.report import charts
from ssn_eval.report.charts import Drawn, Spec
from ssn_eval.report.results import Results
from ssn_eval.report.sharing import shared_against_attacks

NUMBERED = 16
"""largest number of layers whose cells show numbers"""


def all_maps(results: Results) -> dict[str, Drawn]:
    """File name → chart; charts without data are left out."""
    figures = {
        "neurons": Drawn(heat_map(results), "Heat maps of how many SS- and MS-Neurons each layer and site holds"),
        "overlap": Drawn(overlap(results), "Matrix of the Jaccard overlap of the languages' MS-Neurons"),
    }
    if shared_against_attacks(results).points:
        figures["sharing"] = Drawn(
            sharing(results), "Scatter of the attack rate of each NHR language against the number of its SS-Neurons"
        )
    if results.select["sensitivity"]:
        figures["sensitivity"] = Drawn(sensitivity(results), "Lines of the mean number of MS- and SS-Neurons against p")
    if results.stability:
        alt = "Jaccard index of the sets from two halves of the prompts by language, beside what chance would give"
        figures["stability"] = Drawn(stability(results), alt)
    return figures


def heat_map(results: Results) -> Spec:
    """Number of neurons by layer and site, for SS and MS_HR; the cells show numbers if there are at most `NUMBERED` layers."""
    per_key = {name: results.select["per_key"].get(name, {}) for name in ("ss", "ms_hr")}
    layers = layer_count(results, [parse_key(key)[0] for keys in per_key.values() for key in keys])
    ticks = list(range(0, layers, max(1, layers // 12)))
    panels = []
    for name, keys in per_key.items():
        counts: Counter[tuple[int, str]] = Counter()
        for key, count in keys.items():
            layer, site = parse_key(key)
            counts[layer, site.partition(".")[0]] += count  # the experts of a mixture share a row
        cells = [
            {"layer": layer, "site": site, "value": n, "neurons": n, "said": f"layer {layer}, {site}: {n} neurons"}
            for layer in range(layers)
            for site in SITES
            for n in [counts[layer, site]]
        ]
        x = {"field": "layer", "type": "ordinal", "axis": {"values": ticks, "title": "layer"}}
        y = {"field": "site", "type": "nominal", "scale": {"domain": list(SITES)}, "axis": {"title": None}}
        heading = f"{'SS' if name == 'ss' else f'MS of {results.hr}'}: {sum(counts.values())} neurons"
        panels.append(
            charts.heat(
                cells,
                x,
                y,
                max([1, *counts.values()]),
                "d",
                ("layer", "site", "neurons"),
                layers <= NUMBERED,
                title=charts.title(heading),
                width=520,
                height=140,
            )  # fmt: skip
        )
    return charts.chart(panels, columns=1, resolve={"scale": {"color": "independent"}})


def layer_count(results: Results, seen: Sequence[int]) -> int:
    """The number of layers of the model, from its geometry, or from the layers of known neurons."""
    geometry = (results.select.get("model") or {}).get("geometry") or {}
    return max(int(geometry.get("layers", 0)), 1 + max(seen, default=0))


def overlap(results: Results) -> Spec:
    """Jaccard index of the MS-Neurons of every two languages; the scale ends at the largest value off the diagonal."""
    matrix, langs = results.select["jaccard"], list(results.languages)
    cells = [
        {
            "a": a,
            "b": b,
            "value": value,
            "languages": f"{a} and {b}",
            "Jaccard index": f"{value:.3f}",
            "said": f"{a} and {b}: {value:.3f}",
        }  # fmt: skip
        for a in langs
        for b in langs
        if (value := matrix.get(a, {}).get(b)) is not None and value == value  # not NaN
    ]
    top = max([0.05, *(cell["value"] for cell in cells if cell["a"] != cell["b"])])
    x, y = ({"field": f, "type": "nominal", "scale": {"domain": langs}, "axis": {"title": None}} for f in ("b", "a"))
    side = min(360, 70 * len(langs))
    view = charts.heat(cells, x, y, top, ".2f", ("languages", "Jaccard index"), width=side, height=side)
    return charts.chart(view)


def sensitivity(results: Results) -> Spec:
    """Mean number of MS-Neurons (dashed) and SS-Neurons (solid, NHR languages) against p, by group of sites."""
    rows = results.select["sensitivity"]
    values = []
    names = []
    for group in dict.fromkeys(row["sites"] for row in rows):
        for family in ("ms", "ss"):
            names.append(name := f"{family.upper()}, {group}")
            group_rows = [r for r in rows if r["sites"] == group and (family == "ms" or r["lang"] != results.hr)]
            for p in sorted({r["p"] for r in group_rows}):
                counts = [r[family] for r in group_rows if r["p"] == p]
                mean = sum(counts) / len(counts)
                values.append(
                    {
                        "series": name,
                        "x": p,
                        "value": charts.rounded(mean),
                        "set": name,
                        "p": f"{p:g} %",
                        "neurons": f"{mean:,.1f}",
                        "n": f"mean of {len(counts)} languages",
                        "family": family,
                        "said": f"{name}, p = {p:g} %: {mean:,.1f} neurons",
                    }  # fmt: skip
                )
    scale = {"type": "symlog", "constant": 10}
    most = max((v["value"] for v in values), default=1)
    ticks = [3 * 10**power for power in range(7)] + [10 ** (power + 1) for power in range(7)]
    encoding = {
        "x": {"field": "x", "type": "quantitative", "axis": {"title": "p, % of a layer's neurons", "tickCount": 6}},
        "y": {
            "field": "value",
            "type": "quantitative",
            "scale": scale,
            "axis": {"title": None, "values": [0, *sorted(v for v in ticks if v <= most)]},
        },
    }
    dash = {"condition": {"test": "datum.family === 'ms'", "value": [4, 3]}, "value": [1, 0]}
    line = {
        "mark": {"type": "line", "strokeWidth": 1.4, "aria": False},
        "encoding": {**charts.line_series(names), "strokeDash": dash},
    }
    tips = charts.tooltip("set", "p", "neurons", "n")
    dots = {"mark": "point", "encoding": {**charts.series(names), "tooltip": tips, "description": charts.SAID}}
    view = {
        "title": charts.title("mean number of neurons"),
        "width": charts.WIDTH,
        "height": 220,
        "data": {"values": values},
        "encoding": encoding,
        "layer": [line, dots],
    }
    return charts.chart(view, names)


def sharing(results: Results) -> Spec:
    """The attack rate of each NHR language against its |SS|, with Wilson 95 % intervals."""
    data = shared_against_attacks(results)
    values = [
        charts.rate_values("base", p.lang, p.attack)
        | {
            "x": p.size,
            "SS-Neurons": p.size,
            "said": f"{p.lang}: {p.size} SS-Neurons, {data.what} {p.attack.value:.2f}",
        }
        for p in data.points
    ]
    axis = {"title": "SS-Neurons of the language", "tickMinStep": 1}
    x = {"field": "x", "type": "quantitative", "axis": axis, "scale": {"zero": False, "padding": 12}}
    colour = {"value": charts.look(2).colour}
    y = charts.share_axis()
    tips = charts.tooltip("language", "SS-Neurons", *(f for f in charts.RATE_TIP if f != "language"))
    interval = {
        "mark": {"type": "rule", "aria": False, "strokeWidth": 1.2},
        "encoding": {"y": {"field": "low", **y}, "y2": {"field": "high"}, "color": colour},
    }
    point = {
        "mark": {"type": "point", "shape": "diamond", "size": 80},
        "encoding": {"y": {"field": "value", **y}, "color": colour, "tooltip": tips, "description": charts.SAID},
    }
    name = {
        "mark": {"type": "text", "dx": 9, "dy": -8, "align": "left", "aria": False},
        "encoding": {"y": {"field": "value", **y}, "text": {"field": "lang", "type": "nominal"}},
    }
    view = {
        "title": charts.title(f"{data.what} of the base model"),
        "width": charts.WIDTH,
        "height": 230,
        "data": {"values": values},
        "encoding": {"x": x},
        "layer": [interval, point, name],
    }
    return charts.chart(view)


def stability(results: Results) -> Spec:
    """Jaccard index of the sets from two halves of the prompts, by language; a dash marks the value expected by chance."""
    families = {"ms": "MS", "ss": "SS", "private": "private"}
    sets: Any = (results.stability or {})["sets"]
    names, langs = list(families.values()), list(results.languages)
    values = [
        {
            "series": name,
            "lang": lang,
            "value": charts.rounded(entry["jaccard"]),
            "chance": charts.rounded(entry["chance"]),
            "set": name,
            "language": lang,
            "Jaccard index": f"{entry['jaccard']:.3f}",
            "by chance": f"{entry['chance']:.3f}",
            "n": " and ".join(map(str, entry.get("sizes", ()))) + " neurons",
            "said": f"{name}, {lang}: {entry['jaccard']:.3f}, by chance {entry['chance']:.3f}",
        }  # fmt: skip
        for family, name in families.items()
        for lang in langs
        if (entry := sets.get(f"{family}/{lang}", {})).get("jaccard") is not None
    ]
    scale = {"domain": [0, 1], "nice": False}
    y = {"type": "quantitative", "scale": scale, "axis": {"title": None, "tickCount": 5}}
    place = {
        "field": "lang", "type": "nominal", "scale": {"domain": langs}, "axis": {"title": None, "tickBand": "extent", "grid": True},
    }  # fmt: skip
    look = charts.series(names)
    tips = charts.tooltip("set", "language", "Jaccard index", "by chance", "n")
    chance = {
        "mark": {"type": "tick", "aria": False, "thickness": 1.5, "size": 16, "orient": "horizontal"},
        "encoding": {"y": {"field": "chance", **y}, "color": look["color"]},
    }
    point = {
        "mark": "point",
        "encoding": {"y": {"field": "value", **y}, **look, "tooltip": tips, "description": charts.SAID},
    }
    offset = {"field": "series", "type": "nominal", "scale": {"domain": names, "padding": 0.8}}
    view = {
        "title": charts.title("Jaccard index of two halves (dash: by chance)"),
        "width": charts.WIDTH,
        "height": 220,
        "data": {"values": values},
        "encoding": {"x": place, "xOffset": offset},
        "layer": [chance, point],
    }
    return charts.chart(view, names)


def accuracy(rows: Sequence[tuple[str, dict[str, float]]]) -> Spec:
    """Spearman correlation of the scorer with ablation, by site, one series per model."""
    names, places = [name for name, _ in rows], ["all", *SITES]
    values = [
        {
            "series": name,
            "site": site,
            "value": charts.rounded(correlations[site]),
            "model": name,
            "correlation": f"{correlations[site]:.3f}",
            "said": f"{name}, {site}: {correlations[site]:.3f}",
        }  # fmt: skip
        for name, correlations in rows
        for site in places
        if site in correlations
    ]
    lowest = min([0.92, *(v["value"] for v in values)]) - 0.02
    encoding = {
        "x": {"field": "site", "type": "nominal", "scale": {"domain": places}, "axis": {"title": None}},
        "y": {
            "field": "value", "type": "quantitative", "scale": {"domain": [charts.rounded(lowest), 1.0]}, "axis": {"title": None},
        },
        **charts.series(names),
        "tooltip": charts.tooltip("model", "site", "correlation"),
        "description": charts.SAID,
    }  # fmt: skip
    view = {
        "title": charts.title("Spearman correlation with ablation"),
        "width": charts.WIDTH,
        "height": 200,
        "data": {"values": values},
        "mark": "point",
        "encoding": encoding,
    }
    return charts.chart(view, names)
