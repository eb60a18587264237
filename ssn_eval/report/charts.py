"""The parts that all charts share: Vega-Lite specifications, colours, symbols, legend, and SVG and PNG bytes.

A chart is a Vega-Lite specification, drawn twice from the same values: by `vl-convert` to SVG and PNG for papers and for readers
without scripts, and by the script of the page with tooltips and a legend that filters. The colours are the colour-blind-safe palette of
Okabe and Ito, and every series has its own symbol too. Text and lines have the colour of the page, `currentColor`: light or dark as the
reader's scheme asks, and black in the files.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from ssn_eval.core.statistics import Rate

Spec = dict[str, Any]

INK, LINE = "currentColor", "#999999"
COLOURS = (INK, "#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#999999")
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "triangle-down", "cross", "triangle-right", "triangle-left")
WIDTH = 640
"""pixels of the plot of a chart with one panel in the files; the page draws it as wide as the screen allows"""
_LETTER = 6.2
"""pixels of a mean letter of the legend"""
_CONFIG: Spec = {
    "background": None,
    "font": "Liberation Sans, Arial, Helvetica, sans-serif",
    "view": {"stroke": None},
    "axis": {
        "labelColor": INK, "titleColor": INK, "domainColor": INK, "tickColor": INK, "gridColor": LINE, "gridOpacity": 0.35,
        "labelFontSize": 11, "titleFontSize": 11, "titleFontWeight": "normal", "labelAngle": 0, "labelOverlap": True,
    },
    "axisY": {"labelLimit": 120},
    "title": {"color": INK, "subtitleColor": INK, "anchor": "start", "fontSize": 12, "fontWeight": "normal", "frame": "group"},
    "legend": {"labelColor": INK, "titleColor": INK, "labelFontSize": 11, "labelLimit": 0, "symbolStrokeWidth": 1.5, "columnPadding": 18},
    "concat": {"spacing": 28},
    "point": {"filled": True, "size": 55, "opacity": 1},
    "text": {"color": INK, "fontSize": 11},
}  # fmt: skip


class Drawn(NamedTuple):
    """A chart with its alternative text."""

    spec: Spec
    alt: str


class Look(NamedTuple):
    """Colour and symbol of one series."""

    colour: str
    symbol: str


def look(k: int) -> Look:
    """Colour and symbol of the k-th series; the first 64 pairs differ."""
    return Look(COLOURS[k % len(COLOURS)], SYMBOLS[(k + k // len(COLOURS)) % len(SYMBOLS)])


def chart(views: Spec | Sequence[Spec], names: Sequence[str] = (), first: int = 0, step: int = 1, **more: Any) -> Spec:
    """A whole chart of one view, or of several panels.

    Args:
        views: one view, or the panels.
        names: the values of the field `series`, in the order of the legend; none: the chart has no legend.
        first: the number of the look of the first series.
        step: the distance between the looks of two series.
        more: `columns` of the panels, and whatever else stands at the top of a specification.
    """
    spec: Spec = {"config": _CONFIG, "padding": 4, **more}
    spec |= views if isinstance(views, dict) else {"concat": list(views)}
    if names:
        looks = [look(first + step * k) for k in range(len(names))]
        spec["usermeta"] = {"series": [[name, *one] for name, one in zip(names, looks, strict=True)]}
        spec["params"] = [{"name": "hidden", "value": []}]
        return _filtered(spec)
    return spec


def _filtered(view: Spec) -> Spec:
    """A view whose values follow the parameter `hidden`: a filter applies where data are, not below it."""
    inner = {kind: [_filtered(one) for one in view[kind]] for kind in ("concat", "layer") if kind in view}
    rule = {"transform": [{"filter": "indexof(hidden, datum.series) < 0"}]} if "data" in view else {}
    return view | inner | rule


def series(names: Sequence[str], first: int = 0, step: int = 1) -> Spec:
    """The encoding of colour and symbol by the field `series`, with the legend above the plot."""
    looks = [look(first + step * k) for k in range(len(names))]
    room = max(1, int(WIDTH / (_LETTER * max(map(len, names), default=1) + 36)))
    legend = {"orient": "top", "title": None, "columns": min(4, room), "symbolOpacity": 1}
    scales = ([one.colour for one in looks], [one.symbol for one in looks])
    colour, symbol = ({"domain": list(names), "range": values} for values in scales)
    return {
        "color": {"field": "series", "type": "nominal", "scale": colour, "legend": legend},
        "shape": {"field": "series", "type": "nominal", "scale": symbol, "legend": legend},
    }


def line_series(names: Sequence[str], first: int = 0, step: int = 1) -> Spec:
    """The encoding of a line by the field `series`: its colour; the points on it carry the symbol."""
    return {"color": series(names, first, step)["color"]}


def tooltip(*fields: str) -> list[Spec]:
    """Tooltip with these fields, named as they are."""
    return [{"field": field, "type": "nominal"} for field in fields]


def title(text: str) -> Spec:
    """The title above a plot."""
    return {"text": text, "offset": 8}


def share_axis(top: float = 1.0, low: float = 0.0, name: str | None = None) -> Spec:
    """Scale and axis of a share from `low` to `top`, in per cent."""
    axis: Spec = {"format": "~%", "title": name, "tickCount": 5}
    if (low, top) == (0.0, 1.0):
        axis["values"] = [0, 0.25, 0.5, 0.75, 1]
    return {"type": "quantitative", "scale": {"domain": [rounded(low), rounded(top)], "nice": False}, "axis": axis}


def rate_values(name: str, lang: str, rate: Rate) -> Spec:
    """The values of one point with a Wilson interval: what is drawn, what the tooltip shows, and what a screen reader says."""
    interval = f"{100 * rate.low:.0f} to {100 * rate.high:.0f} %"
    percent = f"{100 * rate.value:.1f} %"
    return {
        "series": name, "lang": lang, "value": rounded(rate.value), "low": rounded(rate.low), "high": rounded(rate.high),
        "condition": name, "language": lang, "rate": percent, "n": f"{rate.successes} of {rate.total}", "95 % interval": interval,
        "said": f"{name}, {lang}: {percent}, {rate.successes} of {rate.total}, 95 % interval {interval}",
    }  # fmt: skip


RATE_TIP = ("condition", "language", "rate", "n", "95 % interval")
"""the fields of a tooltip of `rate_values`"""
SAID: Spec = {"field": "said", "type": "nominal"}
"""the encoding of the words for screen readers"""


def rounded(value: float) -> float:
    """A number for a specification, with six decimals."""
    return round(float(value), 6)


def heat(
    cells: Sequence[Spec],
    x: Spec,
    y: Spec,
    top: float,
    form: str,
    tips: Sequence[str],
    numbers: bool = True,
    **more: Any,
) -> Spec:
    """A map of cells by the field `value`, coloured from 0 to `top`, with the values in the cells."""
    colour = {
        "field": "value", "type": "quantitative", "scale": {"scheme": "cividis", "domain": [0, rounded(top)], "clamp": True},
        "legend": {"title": None, "orient": "right", "gradientLength": 110, "tickCount": 4},
    }  # fmt: skip
    rect = {"mark": "rect", "encoding": {"color": colour, "tooltip": tooltip(*tips), "description": SAID}}
    ink = {"condition": {"test": f"datum.value > {rounded(top / 2)}", "value": "black"}, "value": "white"}
    text = {
        "mark": {"type": "text", "aria": False, "tooltip": None},
        "encoding": {"text": {"field": "value", "type": "quantitative", "format": form}, "color": ink},
    }
    layers = [rect, text] if numbers else [rect]
    return {"data": {"values": list(cells)}, "encoding": {"x": x, "y": y}, "layer": layers, **more}


def svg(spec: Spec) -> bytes:
    """A chart as a whole SVG file; its ids are numbered from 0 in every file."""
    import vl_convert

    text = vl_convert.vegalite_to_svg(spec)
    ids: dict[str, str] = {}
    for name in re.findall(r'\bid="([^"]+)"', text):
        ids.setdefault(name, f"id{len(ids)}")
    text = re.sub(r'\bid="([^"]+)"', lambda m: f'id="{ids[m[1]]}"', text)
    text = re.sub(r'(href="#|url\(#)([^")]+)', lambda m: m[1] + ids.get(m[2], m[2]), text.replace("url(&quot;", "url("))
    return text.encode()


def png(drawn: bytes) -> bytes:
    """A drawn SVG as PNG, black on white, at twice its size."""
    import vl_convert

    text = drawn.decode()
    head = text.index(">", text.index("<svg")) + 1
    white = f'{text[:head]}<rect width="100%" height="100%" fill="white"/>{text[head:]}'
    return vl_convert.svg_to_png(white, scale=2)


def inline(drawn: bytes, name: str) -> str:
    """The `<svg>` element for use inside a page: its ids begin with `name`."""
    text = drawn.decode()
    text = re.sub(r'\s+xmlns(:\w+)?="[^"]*"', "", text[text.index("<svg") :])  # an HTML parser needs no namespaces
    return re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", text).strip()
