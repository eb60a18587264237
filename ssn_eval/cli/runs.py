"""`ssn summarize` and the run side of `ssn diff`: the safety of lm_eval's runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ssn_eval.cli.bars import with_bars
from ssn_eval.cli.output import FILE, JSON, emit, table

if TYPE_CHECKING:
    from rich.console import Group

    from ssn_eval.harness.runs.judged_replies import Reply
    from ssn_eval.harness.runs.pairs import Comparison, Paired
    from ssn_eval.harness.runs.rates import Benchmark, Rates, Share

_ASIDE = ("other_language", "invalid", "cut_off", "thought_cut_off", "unscored")
_SHORT = {
    "other_language": "other lang.",
    "over_refusal": "over-refusal",
    "cut_off": "cut off",
    "thought_cut_off": "in thought",
    "score": "harm score",
}
_IF_ANY = ("cut_off", "thought_cut_off")
"""the rates that have a column only if they are not zero"""
_COMMON_CUT_OFF = 0.05
"""share of replies cut off in the thought from which the run says what to do"""


@click.command()
@click.argument("run", type=FILE)
@click.option(
    "--hr", default="en", show_default=True, help="The high-resource language that the others are compared with."
)
@click.option("--common", is_flag=True, help="Count only the prompts that every language of a benchmark has.")
@JSON
def summarize(run: Path, hr: str, common: bool, as_json: bool) -> None:
    """Show how safe a run is: by language, tier, category and translation, with 95 % intervals.

    RUN is the output folder of `lm_eval --log_samples` or of `ssn judge`.

    Example: ssn summarize out/run
    """
    from ssn_eval.core.languages import language
    from ssn_eval.harness.runs import rates

    benchmarks = rates.summarize(_read(run), language(hr).code, common=common)
    emit({"benchmarks": [benchmark.to_json() for benchmark in benchmarks]}, as_json, _summary(benchmarks))


def compare_runs(
    first: Path, second: Path, metric: str | None, correction: str, other_settings: bool, as_json: bool
) -> None:
    """Print the paired comparison of two runs."""
    from ssn_eval.harness.runs import asking, pairs

    if not other_settings:
        asking.refuse_other(first, second)
    comparisons = pairs.compare(_read(first), _read(second), metric=metric, correction=correction)
    emit({"comparisons": [comparison.to_json() for comparison in comparisons]}, as_json, _comparison(comparisons))


def _read(path: Path) -> list[Reply]:
    """The replies of a run; names the ignored tasks on stderr."""
    from ssn_eval.harness.runs import judged_replies, samples

    replies, aside = judged_replies.read(path), samples.safety_files(path)[1]
    if aside:
        click.echo(f"Left aside in {path}, for they are no safety tasks: {', '.join(aside)}.", err=True)
    return replies


def _summary(benchmarks: list[Benchmark]) -> Group:
    from rich.console import Group

    parts: list[object] = []
    for benchmark in benchmarks:
        metrics = [m for m in benchmark.overall if m not in _IF_ANY or benchmark.overall[m].value]
        lines_table = table(
            f"{benchmark.name}, {benchmark.label} prompts, % [95 %]", "", *(_SHORT.get(m, m) for m in metrics)
        )
        groups = (
            benchmark.languages,
            benchmark.tiers,
            benchmark.translations if len(benchmark.translations) > 1 else {},
            {"all": benchmark.overall},
        )
        spans: list[tuple[float, float] | None] = []
        for group in groups:
            for name, rates in group.items():
                lines_table.add_row(name, *(_cell(rates, m) for m in metrics))
                spans.append(_span(rates.get(metrics[0])) if metrics else None)
            if group:
                lines_table.add_section()
        cut_off = benchmark.overall.get("thought_cut_off")
        if cut_off and cut_off.value >= _COMMON_CUT_OFF:
            lines_table.caption = (
                f"{100 * cut_off.value:.0f} % of the replies end inside the model's thought and count as invalid: allow more tokens "
                f"(--gen_kwargs max_gen_toks=N), or switch thinking off (--model_args enable_thinking=False)."
            )
        parts.append(with_bars(lines_table, _SHORT.get(metrics[0], metrics[0]) if metrics else "", spans))
        if benchmark.across:
            lines = table(f"{benchmark.name}, across languages", "", "% [95 %]", "prompts")
            for name, share in benchmark.across.items():
                lines.add_row(name.replace("_", " "), _interval(share), str(share.n))
            parts.append(with_bars(lines, "", [_span(share) for share in benchmark.across.values()], low=-1.0))
        danger = next((m for m in ("asr", "compliance") if m in benchmark.overall), None)
        if benchmark.kinds:
            from ssn_eval.judges.verdict import KINDS

            kinds = [kind for kind in KINDS if any(kind in counts for counts in benchmark.kinds.values())]
            lines = table(f"{benchmark.name}, kinds of replies, counted in no rate", "", *kinds)
            for lang, counts in benchmark.kinds.items():
                lines.add_row(lang, *(str(counts.get(kind, 0)) for kind in kinds))
            parts.append(lines)
        if benchmark.categories and danger:
            lines = table(f"{benchmark.name} by category, {danger}", "category", "% [95 %]", "replies")
            shares = [(name, rates[danger]) for name, rates in sorted(benchmark.categories.items()) if danger in rates]
            for name, share in shares:
                lines.add_row(name, _interval(share), str(share.n))
            parts.append(with_bars(lines, "", [_span(share) for _, share in shares]))
    return Group(*parts)  # type: ignore[arg-type]


def _comparison(comparisons: list[Comparison]) -> Group:
    from rich.console import Group

    parts = []
    for comparison in comparisons:
        columns = ("n", "first", "second", "difference", "only 1st / 2nd", "p", "corrected")
        lines = table(f"{comparison.benchmark}, {comparison.metric}, %: second - first", "", *columns)
        for lang, pair in comparison.languages.items():
            lines.add_row(lang, *_pair(pair))
        lines.add_section()
        lines.add_row("all", *_pair(comparison.overall))
        pairs = [*comparison.languages.values(), comparison.overall]
        lines.caption = f"p: exact McNemar (all: runs exchanged by prompt); corrected: {comparison.correction}"
        parts.append(with_bars(lines, "change", [_span(pair.difference) for pair in pairs], low=-1.0))
    return Group(*parts)


def _span(share: Share | None) -> tuple[float, float] | None:
    """The bar of a rate or a difference: from 0 to its value."""
    return None if share is None else (0.0, share.value)


def _pair(pair: Paired) -> tuple[str, ...]:
    return (
        str(pair.n),
        "–" if pair.first is None else f"{100 * pair.first:.1f}",
        "–" if pair.second is None else f"{100 * pair.second:.1f}",
        "–" if pair.difference is None else _interval(pair.difference),
        f"{pair.only_first} / {pair.only_second}",
        _p(pair.p),
        _p(pair.p_corrected),
    )


def _p(value: float | None) -> str:
    return "–" if value is None else "<.001" if value < 0.001 else f"{value:.3f}"


def _cell(rates: Rates, metric: str) -> str:
    """One cell; the secondary rates (other language, invalid, unscored) have no interval, so that a table fits 80 columns."""
    if metric not in rates:
        return "–"
    return f"{100 * rates[metric].value:.0f}" if metric in _ASIDE else _interval(rates[metric])


def _interval(share: Share) -> str:
    if share.low is None or share.high is None:
        return f"{100 * share.value:.0f}"
    return f"{100 * share.value:.0f} [{100 * share.low:.0f}, {100 * share.high:.0f}]"
