"""What is known about a model's sites: one layout a layer, how it was found, and what is missing and why. It can be kept as JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from ssn_eval.core.errors import FormatError
from ssn_eval.models.architectures.layouts import Layout, Place

FORMAT = "ssn-sites/1"
Origin = Literal["table", "experiment", "cache"]


class Fixed(NamedTuple):
    """A part of a fused module as a list of coordinates; as a `layouts.Part` it gives them for any config."""

    coordinates: tuple[int, ...]

    def __call__(self, _config: object) -> tuple[int, ...]:
        """The coordinates, neuron 0 first."""
        return self.coordinates


@dataclass(frozen=True)
class FoundLayer:
    """The sites of one decoder layer."""

    layout: Layout
    absent: Mapping[str, str] = field(default_factory=dict)
    """site → why a layer of this structure has none"""
    missing: Mapping[str, str] = field(default_factory=dict)
    """site → why it was not proven"""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Found:
    """The sites of a model."""

    origin: Origin
    layers: tuple[FoundLayer, ...]
    decoder: str | None = None
    """path of the module that takes token ids and gives `last_hidden_state`; None: the model's `base_model`"""

    def to_json(self) -> dict[str, Any]:
        """JSON, with equal layers written once."""
        kinds: list[dict[str, Any]] = []
        indices: list[int] = []
        for layer in self.layers:
            entry = _layer_json(layer)
            if entry not in kinds:
                kinds.append(entry)
            indices.append(kinds.index(entry))
        return {"format": FORMAT, "decoder": self.decoder, "kinds": kinds, "layers": indices}

    @classmethod
    def from_json(cls, data: Any) -> Found:
        """Read what `to_json` wrote.

        Raises:
            FormatError: the object has another form.
        """
        try:
            if data["format"] != FORMAT:
                raise ValueError(data["format"])
            kinds = [_layer(entry) for entry in data["kinds"]]
            return cls("cache", tuple(kinds[i] for i in data["layers"]), data["decoder"])
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            raise FormatError(f"Not a table of sites: {error!r}.") from error


def spans(coordinates: Iterable[int]) -> list[list[int]]:
    """Whole numbers as runs `[start, end)`."""
    runs: list[list[int]] = []
    for c in coordinates:
        if runs and runs[-1][1] == c:
            runs[-1][1] = c + 1
        else:
            runs.append([c, c + 1])
    return runs


def _place_json(place: Place) -> dict[str, Any]:
    part = None if place.part is None else spans(place.part(None))
    entry = {"module": place.module, "side": place.side, "part": part, "norm": place.norm}
    entry |= {"time": place.norm_time if place.norm_time != 1 else None, "flat": place.is_flat or None}
    return {k: v for k, v in entry.items() if v is not None}


def _place(data: Mapping[str, Any]) -> Place:
    part = None if "part" not in data else Fixed(tuple(c for start, end in data["part"] for c in range(start, end)))
    if data["side"] not in ("input", "output"):
        raise ValueError(data["side"])
    norm, time, flat = data.get("norm"), int(data.get("time", 1)), bool(data.get("flat", False))
    return Place(str(data["module"]), data["side"], part, norm, time, flat)


def _layer_json(layer: FoundLayer) -> dict[str, Any]:
    layout = layer.layout
    return {
        "path": layout.layers,
        "sites": {site: _place_json(place) for site, place in layout.sites.items()},
        "mlp_rows": [_place_json(place) for place in layout.mlp_rows],
        "experts": layout.experts,
        "beside": layout.beside,
        "absent": dict(layer.absent),
        "missing": dict(layer.missing),
        "notes": list(layer.notes),
    }


def _layer(data: Mapping[str, Any]) -> FoundLayer:
    sites = {str(site): _place(place) for site, place in data["sites"].items()}
    rows = tuple(map(_place, data["mlp_rows"]))
    layout = Layout(str(data["path"]), sites, rows, data["experts"], bool(data["beside"]))
    return FoundLayer(layout, dict(data["absent"]), dict(data["missing"]), tuple(data["notes"]))
