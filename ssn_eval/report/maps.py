"""The figures of neurons: their places, their overlap between languages, the stability of the sets, and ASR against |SS|."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ssn_eval.core.neurons import SITES, parse_key
from ssn_eval.report import canvas
from ssn_eval.report.canvas import Drawn, look
from ssn_eval.report.results import Results
from ssn_eval.report.sharing import shared_against_attacks

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def all_maps(results: Results) -> dict[str, Drawn]:
    """File name → figure; figures without data are left out."""
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


def heat_map(results: Results) -> Figure:
    """Number of neurons by layer and site, for SS and MS_HR; the cells show numbers if there are at most 16 layers."""
    import numpy as np

    set_names = ("ss", "ms_hr")
    layers = layer_count(
        results, [parse_key(key)[0] for name in set_names for key in results.select["per_key"].get(name, {})]
    )
    figure, panels = canvas.new(4.4, rows=2)
    for axes, name in zip(panels, set_names, strict=True):
        grid = np.zeros((len(SITES), layers))
        for key, count in results.select["per_key"].get(name, {}).items():
            layer, site = parse_key(key)
            grid[SITES.index(site.partition(".")[0]), layer] += count  # the experts of a mixture share a row
        mesh = axes.pcolormesh(grid, cmap="cividis", vmin=0, vmax=max(1.0, float(grid.max())))
        if layers <= 16:
            canvas.numbers(axes, grid, "{:.0f}", max(1.0, float(grid.max())) / 2)
        axes.set_yticks([i + 0.5 for i in range(len(SITES))], SITES)
        ticks = range(0, layers, max(1, layers // 12))
        axes.set_xticks([i + 0.5 for i in ticks], ticks)
        axes.invert_yaxis()
        axes.set_xlabel("layer")
        axes.set_title(f"{'SS' if name == 'ss' else f'MS of {results.hr}'}: {int(grid.sum())} neurons", fontsize=9)
        canvas.scale(figure, axes, mesh)
    return figure


def layer_count(results: Results, seen: Sequence[int]) -> int:
    """The number of layers of the model, from its geometry, or from the layers of known neurons."""
    geometry = (results.select.get("model") or {}).get("geometry") or {}
    return max(int(geometry.get("layers", 0)), 1 + max(seen, default=0))


def overlap(results: Results) -> Figure:
    """Jaccard index of the MS-Neurons of every two languages."""
    import numpy as np

    figure, (axes,) = canvas.new(4.2)
    matrix, langs = results.select["jaccard"], results.languages
    grid = np.array([[float(matrix.get(a, {}).get(b, "nan")) for b in langs] for a in langs])
    off_diagonal = grid[~np.eye(len(langs), dtype=bool)]
    top = max(0.05, float(np.nanmax(off_diagonal, initial=0.0)))
    mesh = axes.pcolormesh(grid, cmap="cividis", vmin=0, vmax=top)  # the diagonal is 1 and would hide the rest
    canvas.numbers(axes, grid, "{:.2f}", top / 2)
    middle = [i + 0.5 for i in range(len(langs))]
    axes.set_xticks(middle, langs)
    axes.set_yticks(middle, langs)
    axes.invert_yaxis()
    axes.set_aspect("equal")
    canvas.scale(figure, axes, mesh, extend="max")
    return figure


def sensitivity(results: Results) -> Figure:
    """Mean number of MS-Neurons (dashed) and SS-Neurons (solid, NHR languages) against p, by group of sites."""
    figure, (axes,) = canvas.new(3.0)
    rows = results.select["sensitivity"]
    for k, group in enumerate(dict.fromkeys(row["sites"] for row in rows)):
        for family, style in (("ms", "--"), ("ss", "-")):
            group_rows = [r for r in rows if r["sites"] == group and (family == "ms" or r["lang"] != results.hr)]
            by_p = {p: [r[family] for r in group_rows if r["p"] == p] for p in sorted({r["p"] for r in group_rows})}
            means = [sum(v) / len(v) for v in by_p.values()]
            axes.plot(list(by_p), means, ms=4, lw=1.2, ls=style, label=f"{family.upper()}, {group}", **look(k))
    axes.set_xlabel("p, % of a layer's neurons")
    axes.set_yscale("symlog", linthresh=10)
    canvas.finish(figure, axes, "mean number of neurons", rate=False)
    return figure


def sharing(results: Results) -> Figure:
    """The attack rate of each NHR language against its |SS|, with Wilson 95 % intervals."""
    data = shared_against_attacks(results)
    figure, (axes,) = canvas.new(3.2)
    sizes, rates = [p.size for p in data.points], [p.attack for p in data.points]
    ends = [[max(0.0, r.value - r.low) for r in rates], [max(0.0, r.high - r.value) for r in rates]]
    style = look(2)
    axes.errorbar(
        sizes, [r.value for r in rates], yerr=ends, fmt=style["marker"], color=style["color"], ms=6, elinewidth=1
    )
    for point in data.points:
        axes.annotate(
            point.lang, (point.size, point.attack.value), xytext=(6, 4), textcoords="offset points", color=canvas.INK
        )
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set_xlabel("SS-Neurons of the language")
    canvas.finish(None, axes, f"{data.what} of the base model")
    return figure


def stability(results: Results) -> Figure:
    """Jaccard index of the sets from two halves of the prompts, by language; a dash marks the value expected by chance."""
    figure, (axes,) = canvas.new(3.0)
    families = (("ms", "MS"), ("ss", "SS"), ("private", "private"))
    sets: Any = (results.stability or {})["sets"]
    step = 0.8 / len(families)
    for k, (family, title) in enumerate(families):
        entries = [(i, sets.get(f"{family}/{lang}", {})) for i, lang in enumerate(results.languages)]
        points = [(i + (k - 1) * step, entry) for i, entry in entries if entry.get("jaccard") is not None]
        places = [place for place, _ in points]
        axes.plot(places, [entry["jaccard"] for _, entry in points], ls="", ms=5, label=title, **look(k))
        axes.plot(places, [entry["chance"] for _, entry in points], ls="", marker="_", ms=10, color=look(k)["color"])
    axes.set_xticks(range(len(results.languages)), results.languages)
    axes.set_xlim(-0.5, len(results.languages) - 0.5)
    axes.set_ylim(-0.03, 1.03)
    canvas.finish(figure, axes, "Jaccard index of two halves (dash: by chance)", rate=False)
    return figure


def accuracy(rows: Sequence[tuple[str, dict[str, float]]]) -> Figure:
    """Spearman correlation of the scorer with ablation, by site, one series per model."""
    figure, (axes,) = canvas.new(3.0)
    places = ("all", *SITES)
    for k, (name, correlations) in enumerate(rows):
        points = [(i, correlations[site]) for i, site in enumerate(places) if site in correlations]
        axes.plot([i for i, _ in points], [v for _, v in points], ls="", ms=6, label=name, **look(k))
    axes.set_xticks(range(len(places)), places)
    axes.set_xlim(-0.5, len(places) - 0.5)
    lowest = min((v for _, correlations in rows for v in correlations.values()), default=0.9)
    axes.set_ylim(min(0.9, lowest - 0.02), 1.005)
    canvas.finish(figure, axes, "Spearman correlation with ablation", rate=False)
    return figure
