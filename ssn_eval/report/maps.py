HEAD
def heat_map(results: Results) -> Figure:
    """Neurons by layer and site, for SS and MS_HR; written into the cells where they fit."""
    import numpy as np

    shown = ("ss", "ms_hr")
    layers = layer_count(
        results, [parse_key(key)[0] for name in shown for key in results.select["per_key"].get(name, {})]
    )
    figure, panels = _new(4.4, rows=2)
    for axes, name in zip(panels, shown, strict=True):
        grid = np.zeros((len(SITES), layers))
        for key, count in results.select["per_key"].get(name, {}).items():
            layer, site = parse_key(key)
            grid[SITES.index(site), layer] = count
        mesh = axes.pcolormesh(grid, cmap="cividis", vmin=0, vmax=max(1.0, float(grid.max())))
        if layers <= 16:
            _numbers(axes, grid, "{:.0f}", max(1.0, float(grid.max())) / 2)
        axes.set_yticks([i + 0.5 for i in range(len(SITES))], SITES)
        ticks = range(0, layers, max(1, layers // 12))
        axes.set_xticks([i + 0.5 for i in ticks], ticks)
        axes.invert_yaxis()
        axes.set_xlabel("layer")
        axes.set_title(f"{'SS' if name == 'ss' else f'MS of {results.hr}'}: {int(grid.sum())} neurons", fontsize=9)
        _scale(figure, axes, mesh)
    return figure


def layer_count(results: Results, seen: Sequence[int]) -> int:
    """The model's number of layers, from its geometry or else from the neurons that were seen."""
    geometry = (results.select.get("model") or {}).get("geometry") or {}
    return max(int(geometry.get("layers", 0)), 1 + max(seen, default=0))


def overlap(results: Results) -> Figure:
    """Jaccard index of every two languages' MS-Neurons."""
    import numpy as np

    figure, (axes,) = _new(4.2)
    matrix, langs = results.select["jaccard"], results.languages
    grid = np.array([[float(matrix.get(a, {}).get(b, "nan")) for b in langs] for a in langs])
    apart = grid[~np.eye(len(langs), dtype=bool)]
    top = max(0.05, float(np.nanmax(apart, initial=0.0)))
    mesh = axes.pcolormesh(grid, cmap="cividis", vmin=0, vmax=top)  # the diagonal is 1 and would hide the rest
    _numbers(axes, grid, "{:.2f}", top / 2)
    middle = [i + 0.5 for i in range(len(langs))]
    axes.set_xticks(middle, langs)
    axes.set_yticks(middle, langs)
    axes.invert_yaxis()
    axes.set_aspect("equal")
    _scale(figure, axes, mesh, extend="max")
    return figure


def sensitivity(results: Results) -> Figure:
    """Mean size over languages of MS (dashed) and SS (NHR only, solid) against p, by group of sites."""
    figure, (axes,) = _new(3.0)
    rows = results.select["sensitivity"]
    for k, group in enumerate(dict.fromkeys(row["sites"] for row in rows)):
        for what, style in (("ms", "--"), ("ss", "-")):
            chosen = [r for r in rows if r["sites"] == group and (what == "ms" or r["lang"] != results.hr)]
            by_p = {p: [r[what] for r in chosen if r["p"] == p] for p in sorted({r["p"] for r in chosen})}
            means = [sum(v) / len(v) for v in by_p.values()]
            look: dict[str, Any] = {
                "color": COLOURS[k % len(COLOURS)],
                "marker": MARKERS[k % len(MARKERS)],
                "ls": style,
            }
            axes.plot(list(by_p), means, ms=4, lw=1.2, label=f"{what.upper()}, {group}", **look)
    axes.set_xlabel("p, % of a layer's neurons")
    axes.set_yscale("symlog", linthresh=10)
    _finish(figure, axes, "mean number of neurons", rate=False)
    return figure


