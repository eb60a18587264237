"""The tables of behaviour: the numbers of the figures of `figures`, and further numbers."""

from __future__ import annotations

from collections.abc import Iterable

from ssn_eval.core.languages import by_tier
from ssn_eval.core.setnames import SetName
from ssn_eval.core.statistics import ends
from ssn_eval.report import comparisons, directions
from ssn_eval.report.comparisons import Tested, beats_randoms, drop
from ssn_eval.report.condition import Condition
from ssn_eval.report.grid import Grid, cell, estimate
from ssn_eval.report.provenance import Took
from ssn_eval.report.results import Results, factor, method_label
from ssn_eval.report.summary import percent, signed


def tables(results: Results) -> dict[str, Grid]:
    """Every table of behaviour, by name; the page does not show a table without rows."""
    trained = [results.base, *results.trained.values()]
    intervened = [
        c for c in results.main_rows() if c is results.base or c.name.startswith(("suppress", "scale", "direction"))
    ]
    main = [*results.main_rows()]
    single_language = [
        ops["suppress"] for name, ops in results.interventions.items() if name not in results.main and "suppress" in ops
    ]
    left_out = [c for by_lang in results.left_out.values() for c in by_lang.values()]
    loss = [(m, t, t["loss"]) for m, t in results.training.items()]
    return {
        "safety": _safety(results),
        "tiers": _tiers(results),
        "tags": _tags(results),
        "attacks": _attacks(results),
        "suppression": _rates("Harmful prompts refused, % [95 % interval]", results, intervened, "refusal"),
        "directions": directions.grid(results),
        "own": _rates(
            "Neurons of single languages suppressed: harmful prompts refused, % [95 % interval]",
            results,
            single_language,
            "refusal",
        ),
        "left_out": _rates(
            "Trained without a language: harmful prompts refused, % [95 % interval]", results, left_out, "refusal"
        ),
        "tests": _tests(results),
        "training": _rates("Harmful prompts refused, % [95 % interval]", results, trained, "refusal"),
        "training_tests": _training_tests(results),
        "harmless": _rates("Harmless prompts refused, % [95 % interval]", results, main, "harmless_refusal"),
        "capability": _rates("Capability, % right [95 % interval]", results, main, "capability"),
        "invalid": _rates("Invalid answers, % [95 % interval]", results, main, "invalid"),
        "cut_off": _rates("Replies cut off at the limit of tokens, % [95 % interval]", results, main, "cut_off"),
        "thought_cut_off": _rates(
            "Replies that end inside the model's thought (they are invalid), % [95 % interval]",
            results,
            [c for c in main if c.mean(results.languages, "thought_cut_off")],
            "thought_cut_off",
        ),
        "leak": _rates(
            "Leak: unsafe thought, safe reply to a harmful prompt, % [95 % interval]", results, main, "leak"
        ),
        "escape": _rates(
            "Escape: safe thought, unsafe reply to a harmful prompt, % [95 % interval]", results, main, "escape"
        ),
        "ability": _ability(results, main),
        "amplification": _amplification(results),
        "loss": Grid(
            "Parameters trained, and mean loss of the first and of the last quarter of the steps",
            ["method", "trained", "of all, %", "loss at first", "at last"],
            [
                [
                    method_label(m),
                    f"{t['trainable']:,}",
                    f"{100 * t['trainable'] / t['parameters']:.2f}",
                    *([f"{mean:.3f}" for mean in ends([e["loss"] for e in c])] if c else "––"),
                ]
                for m, t, c in loss
            ],
        ),
    }


def _safety(results: Results) -> Grid:
    """The table of the headline, one row per language."""
    base, hardened = results.base, results.hardened
    gaps = comparisons.gaps(results, base)
    gains = comparisons.tests(base, hardened, results.languages) if hardened else {}
    header = ["language", "tier", "base", "the base is", f"p, {results.hr} refuses more"]
    if hardened:
        header += [
            hardened.label,
            "then it is",
            "change",
            "p of the change",
            *(c.label for c in results.trained_controls),
        ]
    rows = []
    for lang in results.languages:
        rate, hardened_rate = base.rate(lang, "refusal"), hardened.rate(lang, "refusal") if hardened else None
        row = [lang, results.tier(lang), cell(rate), comparisons.word(rate)]
        row.append("–" if lang == results.hr else _p(gaps.get(lang)))
        if hardened:
            change = signed(hardened_rate.value - rate.value) if rate and hardened_rate else "–"
            row += [cell(hardened_rate), comparisons.word(hardened_rate), change, _p(gains.get(lang))]
            row += [cell(control.rate(lang, "refusal")) for control in results.trained_controls]
        rows.append(row)
    return Grid(
        "Harmful prompts refused, % [95 % interval], and McNemar's p, Holm-corrected over languages", header, rows
    )


def _tiers(results: Results) -> Grid:
    """Refusal of every condition by resource tier, with harmless refusal and capability."""
    tiers = {f"{results.hr} (reference)": (results.hr,)}
    tiers |= {f"{tier}: {', '.join(langs)}": tuple(langs) for tier, langs in by_tier(results.nhr).items()}
    rows = []
    for c in results.main_rows():
        cells = [estimate(c.pooled(langs)) for langs in tiers.values()]
        costs = [c.mean(results.languages, measure) for measure in ("harmless_refusal", "capability")]
        rows.append([c.label, *cells, *(percent(m, "") for m in costs)])
    caption = "Harmful prompts refused by resource tier, % [95 % interval, prompts resampled]; harmless refused and capability, means"
    return Grid(caption, ["condition", *tiers, "harmless", "capability"], rows)


def _tags(results: Results) -> Grid:
    """Refusal of the base and the hardened model by kind of harm, if the benchmark has kinds."""
    kinds = sorted({tag for tags in results.tags.values() for tag in tags})
    conditions = [c for c in (results.base, results.hardened) if c]
    rows = []
    for kind in kinds:
        ids = {i for i, tags in results.tags.items() if kind in tags}
        cells = []
        for c in conditions:
            for langs in ((results.hr,), results.nhr):
                verdicts = [v for lang in langs for i, v in c.verdicts.get(lang, {}).items() if i in ids]
                cells.append(percent(sum(verdicts) / len(verdicts) if verdicts else None, ""))
        rows.append([kind, str(len(ids)), *cells])
    header = ["kind", "prompts", *(f"{c.label}, {group}" for c in conditions for group in (results.hr, "NHR"))]
    return Grid("Harmful prompts refused by kind of harm, %", header, rows)


def _attacks(results: Results) -> Grid:
    """ASR if the judge reports harm, else compliance."""
    rows = _rates("Attack success rate, % [95 % interval]", results, results.main_rows(), "asr")
    return (
        rows
        if rows.rows
        else _rates(
            "Answered: neither refused nor invalid, % [95 % interval]; an upper bound of ASR",
            results,
            results.main_rows(),
            "compliance",
        )
    )


def _rates(caption: str, results: Results, conditions: Iterable[Condition], what: str) -> Grid:
    costs = (("harmless_refusal", "harmless"), ("capability", "capability")) if what == "refusal" else ()
    header = ["condition", *results.languages, "NHR mean" if costs else "mean", *(title for _, title in costs)]
    rows = []
    for c in conditions:
        rates = [c.rate(lang, what) for lang in results.languages]
        means = [
            c.mean(results.nhr if costs else results.languages, what),
            *(c.mean(results.languages, w) for w, _ in costs),
        ]
        if any(rates):
            rows.append([c.label, *map(cell, rates), *(percent(m, "") for m in means)])
    return Grid(caption, header, rows)


def _ability(results: Results, conditions: Iterable[Condition]) -> Grid:
    """The distance from the base of every condition in which it was measured."""
    caption = (
        "Distance from the base on harmless prompts: KL divergence, nats a token (perplexity of the base's answers)"
    )
    rows = []
    for c in conditions:
        found = [c.ability.get(lang) for lang in results.languages]
        if any(found):
            known = [one["kl"] for one in found if one]
            cells = [f"{one['kl']:.3f} ({one['perplexity']:.2f})" if one else "–" for one in found]
            rows.append([c.label, *cells, f"{sum(known) / len(known):.3f}"])
    return Grid(caption, ["condition", *results.languages, "mean"], rows)


def _tests(results: Results) -> Grid:
    caption = "Points of refusal lost when a set is suppressed, and McNemar's p, Holm-corrected over languages"
    header = [
        "language",
        "SS",
        *(n.replace("_", " ") for n in results.randoms),
        "SS more than each",
        "p, SS and base",
        "largest p, SS and a random",
    ]
    suppressed = results.interventions.get("ss", {}).get("suppress")
    if suppressed is None or not results.randoms:
        return Grid(caption, header, [])
    rows = []
    from_base, from_randoms = (
        comparisons.tests(results.base, suppressed, results.languages),
        comparisons.against_randoms(results),
    )
    for lang in results.languages:
        drops = [drop(results.base, c, lang) for c in (suppressed, *results.randoms.values())]
        tests = [_p(from_base.get(lang)), _p(from_randoms.get(lang))]
        rows.append([lang, *(percent(d, "") for d in drops), "yes" if beats_randoms(results, lang) else "no", *tests])
    return Grid(caption, header, rows)


def _training_tests(results: Results) -> Grid:
    tests_by_method = [comparisons.tests(results.base, c, results.languages) for c in results.trained.values()]
    rows = [[lang, *(_pairs(tests.get(lang)) for tests in tests_by_method)] for lang in results.languages]
    header = ["language", *(c.label for c in results.trained.values())]
    return Grid(
        "Prompts newly refused (+) and no longer refused (−) against the base, and McNemar's p, Holm-corrected over languages",
        header,
        rows if results.trained else [],
    )


def _amplification(results: Results) -> Grid:
    rows = []
    for name, ops in results.main.items():
        for op, c in sorted(
            [*ops.items(), *([("none", results.base)] if ops else [])], key=lambda item: factor(item[0])
        ):
            cells = [c.mean((results.hr,), "refusal"), c.mean(results.nhr, "refusal")]
            cells += [c.mean(results.languages, measure) for measure in ("harmless_refusal", "capability", "invalid")]
            rows.append(
                [
                    SetName.parse(name).label,
                    f"{factor(op):g}",
                    *(percent(v, "") for v in cells),
                    str(c.unscored(results.languages)),
                ]
            )
    header = ["set", "α", f"refusal {results.hr}", "refusal NHR", "harmless", "capability", "invalid", "unscored"]
    return Grid("Means over languages by factor, % (unscored: answers)", header, rows)


def _p(test: Tested | None) -> str:
    return "–" if test is None else "< .001" if test.corrected < 0.001 else f"{test.corrected:.3f}"


def _pairs(test: Tested | None) -> str:
    return "–" if test is None else f"+{test.only_second} −{test.only_first}, p {_p(test)}"


def took(one: Took) -> list[str]:
    """The time and memory of a stage, as a row."""
    gib = 1 << 30
    gpu = "–" if one.gpu_peak_memory is None else f"{one.gpu_peak_memory / gib:.2f}"
    return [
        one.stage,
        f"{one.seconds:.1f}",
        f"{one.cpu_seconds:.1f}",
        f"{one.peak_memory / gib:.2f}",
        one.gpu or "–",
        gpu,
    ]
