"""The figures of neurons: where they are, how much languages share, how stable the sets are, and how safety goes with |SS|."""

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
    """File name → figure; those without any data are left out."""
    drawn = {
        "neurons": Drawn(heat_map(results), "Heat maps of how many SS- and MS-Neurons each layer and site holds"),
        "overlap": Drawn(overlap(results), "Matrix of the Jaccard overlap of the languages' MS-Neurons"),
    }
    if shared_against_attacks(results).points:
        drawn["sharing"] = Drawn(
            sharing(results), "Scatter of the attack rate of each NHR language against the number of its SS-Neurons"
        )
    if results.select["sensitivity"]:
        drawn["sensitivity"] = Drawn(sensitivity(results), "Lines of the mean number of MS- and SS-Neurons against p")
    if results.stability:
        alt = "Jaccard index of the sets from two halves of the prompts by language, beside what chance would give"
        drawn["stability"] = Drawn(stability(results), alt)
    return drawn


def heat_map(results: Results) -> Figure:
    """Neurons by layer and site, for SS and MS_HR; written into the cells where they fit."""
    import numpy as np

    shown = ("ss", "ms_hr")
    layers = layer_count(
        results, [parse_key(key)[0] for name in shown for key in results.select["per_key"].get(name, {})]
    )
    figure, panels = canvas.new(4.4, rows=2)
    for axes, name in zip(panels, shown, strict=True):
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
    """The model's number of layers, from its geometry or else from the neurons that were seen."""
    geometry = (results.select.get("model") or {}).get("geometry") or {}
    return max(int(geometry.get("layers", 0)), 1 + max(seen, default=0))


def overlap(results: Results) -> Figure:
    """Jaccard index of every two languages' MS-Neurons."""
    import numpy as np

    figure, (axes,) = canvas.new(4.2)
    matrix, langs = results.select["jaccard"], results.languages
    grid = np.array([[float(matrix.get(a, {}).get(b, "nan")) for b in langs] for a in langs])
    apart = grid[~np.eye(len(langs), dtype=bool)]
    top = max(0.05, float(np.nanmax(apart, initial=0.0)))
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
    """Mean size over languages of MS (dashed) and SS (NHR only, solid) against p, by group of sites."""
    figure, (axes,) = canvas.new(3.0)
    rows = results.select["sensitivity"]
    for k, group in enumerate(dict.fromkeys(row["sites"] for row in rows)):
        for what, style in (("ms", "--"), ("ss", "-")):
            chosen = [r for r in rows if r["sites"] == group and (what == "ms" or r["lang"] != results.hr)]
            by_p = {p: [r[what] for r in chosen if r["p"] == p] for p in sorted({r["p"] for r in chosen})}
            means = [sum(v) / len(v) for v in by_p.values()]
            axes.plot(list(by_p), means, ms=4, lw=1.2, ls=style, label=f"{what.upper()}, {group}", **look(k))
    axes.set_xlabel("p, % of a layer's neurons")
    axes.set_yscale("symlog", linthresh=10)
    canvas.finish(figure, axes, "mean number of neurons", rate=False)
    return figure


def sharing(results: Results) -> Figure:
    """The attack rate of each NHR language against |SS| of that language, with Wilson 95 % intervals."""
    found = shared_against_attacks(results)
    figure, (axes,) = canvas.new(3.2)
    sizes, rates = [p.size for p in found.points], [p.attack for p in found.points]
    ends = [[max(0.0, r.value - r.low) for r in rates], [max(0.0, r.high - r.value) for r in rates]]
    style = look(2)
    axes.errorbar(
        sizes, [r.value for r in rates], yerr=ends, fmt=style["marker"], color=style["color"], ms=6, elinewidth=1
    )
    for point in found.points:
        axes.annotate(
            point.lang, (point.size, point.attack.value), xytext=(6, 4), textcoords="offset points", color=canvas.INK
        )
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set_xlabel("SS-Neurons of the language")
    canvas.finish(None, axes, f"{found.what} of the base model")
    return figure


def stability(results: Results) -> Figure:
    """Jaccard index of the sets that two halves of the prompts give, by language; a dash marks what chance would give."""
    figure, (axes,) = canvas.new(3.0)
    families = (("ms", "MS"), ("ss", "SS"), ("private", "private"))
    sets: Any = (results.stability or {})["sets"]
    step = 0.8 / len(families)
    for k, (family, title) in enumerate(families):
        found = [(i, sets.get(f"{family}/{lang}", {})) for i, lang in enumerate(results.languages)]
        known = [(i + (k - 1) * step, one) for i, one in found if one.get("jaccard") is not None]
        places = [place for place, _ in known]
        axes.plot(places, [one["jaccard"] for _, one in known], ls="", ms=5, label=title, **look(k))
        axes.plot(places, [one["chance"] for _, one in known], ls="", marker="_", ms=10, color=look(k)["color"])
    axes.set_xticks(range(len(results.languages)), results.languages)
    axes.set_xlim(-0.5, len(results.languages) - 0.5)
    axes.set_ylim(-0.03, 1.03)
    canvas.finish(figure, axes, "Jaccard index of two halves (dash: by chance)", rate=False)
    return figure


def accuracy(rows: Sequence[tuple[str, dict[str, float]]]) -> Figure:
    """Spearman correlation of a scorer with ablation, by site, one series a model."""
    figure, (axes,) = canvas.new(3.0)
    places = ("all", *SITES)
    for k, (name, found) in enumerate(rows):
        known = [(i, found[site]) for i, site in enumerate(places) if site in found]
        axes.plot([i for i, _ in known], [v for _, v in known], ls="", ms=6, label=name, **look(k))
    axes.set_xticks(range(len(places)), places)
    axes.set_xlim(-0.5, len(places) - 0.5)
    low = min((v for _, found in rows for v in found.values()), default=0.9)
    axes.set_ylim(min(0.9, low - 0.02), 1.005)
    canvas.finish(figure, axes, "Spearman correlation with ablation", rate=False)
    return figure
