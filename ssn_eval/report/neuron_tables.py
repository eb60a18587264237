"""The tables of neurons, with the numbers of the figures of `maps`: places, overlap between languages, stability of the sets."""

from __future__ import annotations

from collections.abc import Sequence

from ssn_eval.core.neurons import SITES, parse_key, site_key
from ssn_eval.report import agreement, maps
from ssn_eval.report.grid import Grid, cell, number
from ssn_eval.report.results import Results
from ssn_eval.report.sharing import shared_against_attacks
from ssn_eval.report.summary import decimal


def neuron_tables(results: Results) -> dict[str, Grid]:
    """Every table of neurons, by name; the page does not show a table without rows."""
    langs = results.languages
    named_sizes, sizes = results.select["named"].items(), results.select["sizes"].items()
    return {
        "ss": _places("SS-Neurons by site and layer", results, "ss"),
        "ms_hr": _places(f"MS-Neurons of {results.hr} by site and layer", results, "ms_hr"),
        "overlap": Grid(
            "Jaccard index of MS-Neurons",
            ["", *langs],
            [[a, *(number(results.select["jaccard"].get(a, {}).get(b)) for b in langs)] for a in langs],
        ),
        "sharing": _sharing(results),
        "sizes": Grid(
            "Neurons by set and language",
            ["set", *langs],
            [[f.upper() if len(f) < 3 else f, *(str(n.get(x, "–")) for x in langs)] for f, n in sizes],
        ),
        "named": Grid(
            "Neurons of the sets that were validated", ["set", "neurons"], [[name, str(n)] for name, n in named_sizes]
        ),
        "sensitivity": _sensitivity(results),
        "stability": _stability(results),
        "agreement": _agreement(results, "ss", "SS by other rules and scorers"),
        "agreement_ms_hr": _agreement(results, "ms_hr", f"MS of {results.hr} by other rules and scorers"),
    }


def _places(caption: str, results: Results, name: str) -> Grid:
    counts: dict[str, int] = {}
    for key, count in results.select["per_key"].get(name, {}).items():
        layer, site = parse_key(key)
        merged = site_key(layer, site.partition(".")[0])  # the experts of a mixture share a row
        counts[merged] = counts.get(merged, 0) + count
    layers = range(maps.layer_count(results, [parse_key(key)[0] for key in counts]))
    rows = [[site, *(str(counts.get(site_key(layer, site), 0)) for layer in layers)] for site in SITES]
    return Grid(caption, ["site", *map(str, layers)], rows)


def _sharing(results: Results) -> Grid:
    sharing = shared_against_attacks(results)
    rows = [[p.lang, str(p.size), cell(p.attack)] for p in sharing.points]
    c = sharing.correlation
    description = (
        f"Pearson's r {decimal(c.value)} (95 % interval {decimal(c.low)} to {decimal(c.high)}), "
        f"Spearman {decimal(sharing.spearman or 0.0)}"
        if c
        else f"no correlation: {sharing.why}"
    )
    return Grid(
        f"SS-Neurons and {sharing.what} of the base model, % [95 % interval]; {description}",
        ["language", "SS", sharing.what],
        rows,
    )


def _sensitivity(results: Results) -> Grid:
    rows = results.select["sensitivity"]
    counts = {(r["sites"], r["p"], r["lang"]): f"{r['ms']} / {r['ss']}" for r in rows}
    pairs = dict.fromkeys((r["sites"], r["p"]) for r in rows)
    lines = [
        [f"{sites}, p = {p:g} %", *(counts.get((sites, p, lang), "–") for lang in results.languages)]
        for sites, p in pairs
    ]
    return Grid("MS / SS neurons by sites and p", ["sites and p", *results.languages], lines)


def _agreement(results: Results, which: str, what: str) -> Grid:
    table = results.agreement.get(which)
    return agreement.grid(table, what) if table else Grid(what, (), ())


def _stability(results: Results) -> Grid:
    """The stability over two halves of the prompts: sets by language, then ranks of the scores; empty if not measured."""
    stability = results.stability or {"sets": {}, "spearman": {}}
    sets, ranks, langs = stability["sets"], stability["spearman"], results.languages

    rows = [
        [title, *(agreement.both(sets.get(f"{family}/{lang}")) for lang in langs)]
        for family, title in (("ms", "MS"), ("ss", "SS"), ("private", "private"))
    ]
    for label in ("harmful", "harmless"):
        values = (ranks.get(lang, {}).get(label, {}).get("within_layer") for lang in langs)
        rows.append([f"Spearman of {label} scores within layers", *map(number, values)])
    caption = "Two halves of the prompts: Jaccard index of the sets that each gives (and what chance would give)"
    return Grid(caption, ["", *langs], rows if sets else [])


def accuracy(rows: Sequence[tuple[str, dict[str, float]]]) -> Grid:
    """Spearman correlation of the scorer with ablation, by model and site."""
    places = ("all", *SITES)
    return Grid(
        "Spearman correlation of the scorer with ablation, the definition",
        ["model", *places],
        [
            [name, *(f"{correlations[p]:.3f}" if p in correlations else "–" for p in places)]
            for name, correlations in rows
        ],
    )
