"""Write the report: `index.html`, `figures/`, `metrics.json` and `plots/`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from importlib.resources import files as package_files
from pathlib import Path
from typing import Any, NamedTuple

from ssn_eval import files
from ssn_eval.neurons import SITES, parse_key, site_key
from ssn_eval.report import figures, plots
from ssn_eval.report.results import Condition, Results, factor, read
from ssn_eval.report.summary import answers, beats_randoms, drop, hardest_random, metrics, percent
from ssn_eval.statistics import McNemar, Rate


class Grid(NamedTuple):
    """A table of texts; the first cell of a row names it."""

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]


def build(results_folder: Path, out: Path) -> dict[str, Any]:
    """Write the whole report and return its metrics.

    Raises:
        MissingInputError, FormatError: the results are missing or damaged.
    """
    from jinja2 import Environment, StrictUndefined

    results = read(results_folder)
    drawn = {
        name: (figures.render(d.figure, "svg"), figures.render(d.figure, "png"), d.alt)
        for name, d in figures.all_figures(results).items()
    }
    template = package_files("ssn_eval.report").joinpath("template.html").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    page = environment.from_string(template).render(
        answers=answers(results),
        figures={name: (figures.inline(svg, name), alt) for name, (svg, _, alt) in drawn.items()},
        hr=results.hr,
        tables=tables(results),
        candidates=results.select["candidates"],
        unscored=sum(c.unscored(results.languages) for c in results.rows()),
        facts=list(_flat(results.provenance)),
    )
    for name, (svg, png, _) in drawn.items():
        _write_bytes(out / "figures" / f"{name}.svg", svg)
        _write_bytes(out / "figures" / f"{name}.png", png)
    files.write_text(out / "index.html", page + "\n")
    files.write_text(out / "plots" / "refusal.csv", plots.refusal(results))
    files.write_text(out / "plots" / "loss.csv", plots.loss(results))
    found = metrics(results)
    files.write_json(out / "metrics.json", found)
    return found


def tables(results: Results) -> dict[str, Grid]:
    """Every table of the page, by name; a table without rows is not shown."""
    langs, trained = results.languages, [results.base, *results.trained.values()]
    changed = [c for c in results.rows() if c is results.base or c.name.startswith(("suppress", "scale"))]
    named = results.select["named"].items()
    sizes = results.select["sizes"].items()
    loss = [(m, t, t["loss"]) for m, t in results.training.items()]
    return {
        "suppression": _rates("Harmful prompts refused, % [95 % interval]", results, changed, "refusal"),
        "tests": _tests(results),
        "training": _rates("Harmful prompts refused, % [95 % interval]", results, trained, "refusal"),
        "training_tests": _training_tests(results),
        "harmless": _rates(
            "Harmless prompts refused, % [95 % interval]", results, [*results.rows()], "harmless_refusal"
        ),
        "capability": _rates("Capability, % right [95 % interval]", results, [*results.rows()], "capability"),
        "invalid": _rates("Invalid answers, % [95 % interval]", results, [*results.rows()], "invalid"),
        "amplification": _amplification(results),
        "ss": _places("SS-Neurons by site and layer", results, "ss"),
        "ms_hr": _places(f"MS-Neurons of {results.hr} by site and layer", results, "ms_hr"),
        "overlap": Grid(
            "Jaccard index of MS-Neurons",
            ["", *langs],
            [[a, *(_number(results.select["jaccard"].get(a, {}).get(b)) for b in langs)] for a in langs],
        ),
        "sizes": Grid(
            "Neurons by set and language",
            ["set", *langs],
            [[f.upper() if len(f) < 3 else f, *(str(n.get(x, "–")) for x in langs)] for f, n in sizes],
        ),
        "named": Grid(
            "Neurons of the sets that were validated", ["set", "neurons"], [[name, str(n)] for name, n in named]
        ),
        "sensitivity": _sensitivity(results),
        "stability": _stability(results),
        "loss": Grid(
            "Parameters trained, and loss",
            ["method", "trained", "of all, %", "first loss", "last loss"],
            [
                [
                    m,
                    f"{t['trainable']:,}",
                    f"{100 * t['trainable'] / t['parameters']:.2f}",
                    *([f"{c[0]['loss']:.3f}", f"{c[-1]['loss']:.3f}"] if c else "––"),
                ]
                for m, t, c in loss
            ],
        ),
    }


def _rates(caption: str, results: Results, conditions: Iterable[Condition], what: str) -> Grid:
    beside = (("harmless_refusal", "harmless"), ("capability", "capability")) if what == "refusal" else ()
    header = ["condition", *results.languages, "NHR mean" if beside else "mean", *(title for _, title in beside)]
    rows = []
    for c in conditions:
        rates = [c.rate(lang, what) for lang in results.languages]
        means = [
            c.mean(results.nhr if beside else results.languages, what),
            *(c.mean(results.languages, w) for w, _ in beside),
        ]
        if any(rates):
            rows.append([c.label, *map(_cell, rates), *(percent(m, "") for m in means)])
    return Grid(caption, header, rows)


def _tests(results: Results) -> Grid:
    caption = "Points of refusal lost when a set is suppressed, and McNemar's p"
    header = [
        "language",
        "SS",
        *(n.replace("_", " ") for n in results.randoms),
        "SS more than each",
        "p, SS and base",
        "largest p, SS and a random",
    ]
    changed = results.interventions.get("ss", {}).get("suppress")
    if changed is None or not results.randoms:
        return Grid(caption, header, [])
    rows = []
    for lang in results.languages:
        drops = [drop(results.base, c, lang) for c in (changed, *results.randoms.values())]
        tests = [_p(results.base.test(changed, lang)), _p(hardest_random(results, lang))]
        rows.append([lang, *(percent(d, "") for d in drops), "yes" if beats_randoms(results, lang) else "no", *tests])
    return Grid(caption, header, rows)


def _training_tests(results: Results) -> Grid:
    pairs = [(lang, [results.base.test(c, lang) for c in results.trained.values()]) for lang in results.languages]
    told = [
        [lang, *(f"+{t.only_second} −{t.only_first}, p {_p(t)}" if t else "–" for t in tests)] for lang, tests in pairs
    ]
    header = ["language", *(c.label for c in results.trained.values())]
    return Grid(
        "Prompts newly refused (+) and no longer refused (−) against the base, and McNemar's p",
        header,
        told if results.trained else [],
    )


def _amplification(results: Results) -> Grid:
    rows = []
    for name, ops in results.interventions.items():
        for op, c in sorted(
            [*ops.items(), *([("none", results.base)] if ops else [])], key=lambda item: factor(item[0])
        ):
            cells = [c.mean((results.hr,), "refusal"), c.mean(results.nhr, "refusal")]
            cells += [c.mean(results.languages, what) for what in ("harmless_refusal", "capability", "invalid")]
            rows.append(
                [
                    name.replace("_", " "),
                    f"{factor(op):g}",
                    *(percent(v, "") for v in cells),
                    str(c.unscored(results.languages)),
                ]
            )
    header = ["set", "α", f"refusal {results.hr}", "refusal NHR", "harmless", "capability", "invalid", "unscored"]
    return Grid("Means over languages by factor, % (unscored: answers)", header, rows)


def _places(caption: str, results: Results, name: str) -> Grid:
    counts = results.select["per_key"].get(name, {})
    layers = range(figures.layer_count(results, [parse_key(key)[0] for key in counts]))
    rows = [[site, *(str(counts.get(site_key(layer, site), 0)) for layer in layers)] for site in SITES]
    return Grid(caption, ["site", *map(str, layers)], rows)


def _sensitivity(results: Results) -> Grid:
    rows = results.select["sensitivity"]
    found = {(r["sites"], r["p"], r["lang"]): f"{r['ms']} / {r['ss']}" for r in rows}
    pairs = dict.fromkeys((r["sites"], r["p"]) for r in rows)
    told = [
        [f"{sites}, p = {p:g} %", *(found.get((sites, p, lang), "–") for lang in results.languages)]
        for sites, p in pairs
    ]
    return Grid("MS / SS neurons by sites and p", ["sites and p", *results.languages], told)


def _stability(results: Results) -> Grid:
    """Split halves of the prompts, where the score stage made them: sets by language, then the ranks of the scores."""
    found = results.select.get("stability") or {"sets": {}, "spearman": {}}
    sets, ranks, langs = found["sets"], found["spearman"], results.languages

    def cell(name: str) -> str:
        one = sets.get(name, {})
        return "–" if one.get("jaccard") is None else f"{one['jaccard']:.2f} ({one['chance']:.2f})"

    rows = [
        [title, *(cell(f"{family}/{lang}") for lang in langs)]
        for family, title in (("ms", "MS"), ("ss", "SS"), ("private", "private"))
    ]
    for label in ("harmful", "harmless"):
        values = (ranks.get(lang, {}).get(label, {}).get("within_layer") for lang in langs)
        rows.append([f"Spearman of {label} scores within layers", *map(_number, values)])
    caption = "Two halves of the prompts: Jaccard index of the sets that each gives (and what chance would give)"
    return Grid(caption, ["", *langs], rows if sets else [])


def _flat(value: object, name: str = "") -> Iterable[tuple[str, str]]:
    if isinstance(value, dict) and value:
        for key in sorted(value):
            yield from _flat(value[key], f"{name} › {key}" if name else str(key))
    elif value is not None:
        yield name, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _cell(rate: Rate | None) -> str:
    return f"{100 * rate.value:.0f} [{100 * rate.low:.0f}, {100 * rate.high:.0f}]" if rate else "–"


def _p(test: McNemar | None) -> str:
    return "–" if test is None else "< .001" if test.p < 0.001 else f"{test.p:.3f}"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _write_bytes(path: Path, content: bytes) -> None:
    with files.atomic(path) as temporary:
        temporary.write_bytes(content)
