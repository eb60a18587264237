"""The frontier of each method: harmful prompts refused against harmless prompts refused and capability lost.

A run at one step is a point (x, c, y): x is harmless refusal and c the capability lost against the base model, both means over all
languages; y is refusal of harmful prompts, the mean over the languages that count. The untrained model is a point too. The frontier
of a method in one seed is `f(x) = max {y : x_i ≤ x, c_i ≤ C}`. Its *area* is the mean of f over x from 0 to X, and its value at matched
over-refusal is f at that x. Points are selected and measured on the same questions, so a frontier is optimistic, the more so the more
points it has; all methods are therefore compared on equal grids.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ssn_eval.core.errors import EmptySetError
from ssn_eval.core.sweep import RANDOM, FrontierParams, counted
from ssn_eval.report import again
from ssn_eval.report.seeds import cell_of, over

if TYPE_CHECKING:
    from rich.table import Table

LABELS = {"ssn": "SS", "ms_hr": "MS of HR", RANDOM: "random", "full": "all weights", "lora": "LoRA"}


class Point(NamedTuple):
    """One model of the sweep; rates between 0 and 1."""

    over_refusal: float
    lost: float
    """capability lost; negative if capability rose"""
    refused: float
    lr: float
    step: int


def frontiers(found: Mapping[str, Any], settings: FrontierParams, hr: str) -> dict[str, Any]:
    """The frontiers of a sweep, as plain values.

    Args:
        found: the result of `frontier.sweep`.
        settings: the settings of the same sweep.
        hr: the high-resource language.

    Returns:
        `{"seeds", "scenarios": {name: {"languages", "base", "base_points", "base_again", "methods": {name: {"trainable", "area", "at": {x: value},
        "capability_area", "points", "again"}}}}}`; the two `again` (`report/again.py`) are there where it was measured; each value is `{"mean", "low", "high", "values", "minus_random"}`, with Student's t-interval over seeds,
        and `minus_random` is the same for the difference to `random` in the same seed, or to `<method>_random` if that is compared too.
    """
    seeds = sorted(int(seed) for seed in found["base"])
    base = {int(seed): rates for seed, rates in found["base"].items()}
    langs = list(next(iter(base.values())))
    nhr = [lang for lang in langs if lang != hr]
    scenarios = {}
    for name, scenario in settings.scenarios.items():
        counted_langs = counted(scenario, nhr)
        start = {seed: _point(base[seed], base[seed], counted_langs, 0.0, 0) for seed in seeds}
        cells = [cell for cell in found["cells"] if cell["scenario"] == name]
        by_method = {}
        for method in settings.methods:
            method_cells = [cell for cell in cells if cell["method"] == method]
            points = {
                (seed, draw): [
                    _point(p["by_lang"], base[seed], counted_langs, cell["lr"], p["step"])
                    for cell in method_cells
                    if (cell["seed"], cell["draw"]) == (seed, draw)
                    for p in cell["points"]
                ]
                for seed in seeds
                for draw in sorted({cell["draw"] for cell in method_cells})
            }
            by_method[method] = _of_method(points, start, seeds, settings) | {
                "trainable": _range([cell["trainable"] for cell in method_cells]),
                "parameters": _range([cell["parameters"] for cell in method_cells]),
            }
            suppressed = [
                again.Measured(
                    cell["seed"],
                    _point(p["by_lang"], base[cell["seed"]], counted_langs, cell["lr"], p["step"]),
                    again.refused(p["again"], counted_langs),
                )
                for cell in method_cells
                for p in cell["points"]
                if p.get("again", {}).get("neurons")
            ]
            if suppressed:
                by_method[method]["again"] = again.chosen(suppressed, settings)
        for method, value in by_method.items():
            own = by_method.get(f"{method}_{RANDOM}", by_method.get(RANDOM))
            _add_difference(value, None if method == RANDOM or method.endswith(f"_{RANDOM}") else own)
        scenarios[name] = {
            "languages": list(counted_langs),
            "base": over([start[seed].refused for seed in seeds]),
            "base_points": {str(seed): list(start[seed]) for seed in seeds},
            **_base_again(found.get("base_again", {}), start, counted_langs),
            "methods": by_method,
        }
    return {"seeds": seeds, "scenarios": scenarios}


def envelope(
    points: Iterable[Point], limit: float, cost: str = "over_refusal", other: float = 1.0
) -> list[tuple[float, float]]:
    """The frontier as the corners of a staircase, `[(cost, refused)]`, both rising; negative costs become 0.

    Args:
        points: the points of one method in one seed, the base included.
        limit: the largest allowed value of the other cost.
        cost: the cost on the axis: `over_refusal` (the other cost is `lost`) or `lost` (the other cost is `over_refusal`).
        other: the largest cost on the axis.
    """
    rival = "lost" if cost == "over_refusal" else "over_refusal"
    candidates = sorted(
        (max(0.0, getattr(p, cost)), p.refused)
        for p in points
        if getattr(p, rival) <= limit and getattr(p, cost) <= other
    )
    corners: list[tuple[float, float]] = []
    for x, y in candidates:
        if not corners or y > corners[-1][1]:
            if corners and corners[-1][0] == x:
                corners.pop()
            corners.append((x, y))
    return corners


def height(corners: Sequence[tuple[float, float]], x: float) -> float:
    """The frontier at a cost of x; 0 if no corner costs so little."""
    return max((y for at, y in corners if at <= x), default=0.0)


def area(corners: Sequence[tuple[float, float]], until: float) -> float:
    """The mean height of the frontier from 0 to `until`.

    Raises:
        EmptySetError: `until` is not above 0.
    """
    if until <= 0:
        raise EmptySetError("An area needs a range of costs above 0.")
    inside = [(x, y) for x, y in corners if x < until]
    ends = [*(x for x, _ in inside[1:]), until]
    return sum(y * (end - x) for (x, y), end in zip(inside, ends, strict=True)) / until if inside else 0.0


def table(found: Mapping[str, Any], settings: FrontierParams) -> Table:
    """One row per scenario and method, in per cent: the area and the values at matched over-refusal, ± half the interval."""
    from rich import box
    from rich.table import Table

    title = f"Harmful prompts refused, %, over seeds {', '.join(map(str, found['seeds']))} (± half the 95 % interval)"
    rich_table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for head in ("scenario", "method"):
        rich_table.add_column(head, no_wrap=True)
    matched = [f"{100 * x:g} %" for x in settings.matched]
    for head in ("trained", "area", "− random", *(f"at {x}" for x in matched), "best lr, steps"):
        rich_table.add_column(head, justify="right")
    if has_again := again.was_measured(found):
        for head in again.HEADERS:
            rich_table.add_column(head, justify="right")
    for name, scenario in found["scenarios"].items():
        gap = [""] * (len(settings.matched) + 2) if has_again else []
        base_again = again.cells(scenario.get("base_again")) if has_again else []
        rich_table.add_row(name, "base", "", cell_of(scenario["base"]), *gap, *base_again)
        for method, value in scenario["methods"].items():
            at = [cell_of(value["at"][f"{x:g}"]) for x in settings.matched]
            low, high = value["trainable"]
            trained = f"{low:,}" if low == high else f"{low:,}–{high:,}"
            gain = cell_of(value["area"]["minus_random"], sign=True)
            without = again.cells(value.get("again")) if has_again else []
            rich_table.add_row(
                "", LABELS.get(method, method), trained, cell_of(value["area"]), gain, *at, value["chosen"], *without
            )
    return rich_table


def _point(
    run_rates: Mapping[str, Mapping[str, float]],
    base: Mapping[str, Mapping[str, float]],
    counted_langs: Sequence[str],
    lr: float,
    step: int,
) -> Point:
    def mean(rates: Mapping[str, Mapping[str, float]], what: str, langs: Iterable[str]) -> float:
        values = [rates[lang][what] for lang in langs]
        return sum(values) / len(values)

    return Point(
        mean(run_rates, "harmless_refusal", run_rates),
        mean(base, "capability", base) - mean(run_rates, "capability", run_rates),
        mean(run_rates, "refusal", counted_langs),
        lr,
        step,
    )


def _base_again(
    measured: Mapping[Any, Mapping[str, Any]], start: Mapping[int, Point], langs: Sequence[str]
) -> dict[str, Any]:
    """What is refused without the set in the base, as for the methods."""
    found = {int(seed): value for seed, value in measured.items() if value["neurons"]}
    rows = [again.Measured(seed, start[seed], again.refused(value, langs)) for seed, value in found.items()]
    return {"base_again": again.over_seeds(rows)} if rows else {}


def _of_method(
    points: Mapping[tuple[int, int], Sequence[Point]],
    start: Mapping[int, Point],
    seeds: Sequence[int],
    settings: FrontierParams,
) -> dict[str, Any]:
    def per_seed(value: Any) -> list[float]:
        """One number per seed: the value of a frontier, averaged over the draws of the seed."""
        means = []
        for seed in seeds:
            values = [value([start[seed], *run_points]) for (s, _), run_points in points.items() if s == seed]
            means.append(sum(values) / len(values))
        return means

    cost_limit, limit = settings.over_refusal, settings.capability_lost
    return {
        "area": over(per_seed(lambda p: area(envelope(p, limit), cost_limit))),
        "at": {f"{x:g}": over(per_seed(lambda p, x=x: height(envelope(p, limit), x))) for x in settings.matched},
        "capability_area": over(per_seed(lambda p: area(envelope(p, settings.matched[-1], "lost"), cost_limit))),
        "chosen": _best_setting([p for run_points in points.values() for p in run_points], settings),
        "points": {
            f"{seed}" + (f".{draw}" if draw else ""): [list(p) for p in run_points]
            for (seed, draw), run_points in points.items()
        },
    }


def _best_setting(points: Sequence[Point], settings: FrontierParams) -> str:
    """The learning rate and step with the highest mean refusal over seeds, among those within the limits in every seed."""
    groups: dict[tuple[float, int], list[Point]] = {}
    for p in points:
        groups.setdefault((p.lr, p.step), []).append(p)
    within = {
        key: sum(p.refused for p in group) / len(group)
        for key, group in groups.items()
        if all(p.over_refusal <= settings.matched[-1] and p.lost <= settings.capability_lost for p in group)
    }
    if not within:
        return "none within limits"
    lr, step = max(within, key=lambda key: (within[key], -key[1], -key[0]))
    return f"{lr:g}, {step}"


def _add_difference(value: dict[str, Any], random: Mapping[str, Any] | None) -> None:
    """Add the difference to the random control in the same seed to `value`."""
    pairs = [
        (value["area"], random and random["area"]),
        (value["capability_area"], random and random["capability_area"]),
    ]
    pairs += [(statistic, random and random["at"][x]) for x, statistic in value["at"].items()]
    for statistic, control in pairs:
        statistic["minus_random"] = (
            over([a - b for a, b in zip(statistic["values"], control["values"], strict=True)]) if control else None
        )


def _range(values: Sequence[int]) -> list[int]:
    return [min(values), max(values)] if values else [0, 0]
