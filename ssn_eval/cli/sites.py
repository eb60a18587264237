"""The checks of `ssn doctor --model` on the model itself: whether it can be loaded, and the table of its sites."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from ssn_eval.cli.health import Check
from ssn_eval.core.errors import SsnError
from ssn_eval.core.neurons import parse_key, site_kind

if TYPE_CHECKING:
    from ssn_eval.models.architectures.found import Found
    from ssn_eval.models.loading import ModelSpec

_FOUND = {"table": "from the table", "experiment": "by experiment", "cache": "by experiment, from the cache"}


def checks(spec: ModelSpec, device: str | None, *, fits: bool) -> Iterator[Check]:
    """Whether the model can be loaded, and its sites.

    The sites of a type of the table are told from the config. Of any other type they come from the cache, or the model is loaded
    and the experiments run.

    Args:
        spec: the model.
        device: where it would be loaded.
        fits: whether the memory is enough to load it.
    """
    from ssn_eval.models import loading
    from ssn_eval.models.architectures.layouts import LAYOUTS

    config, _ = loading.config_of(spec)
    refusal = loading.quantizer_refusal(config)
    if refusal is not None:
        yield Check(
            "weights", "failed", f"refused: {refusal}", "install that library, or use the model's plain weights"
        )
        return
    try:
        if config.model_type in LAYOUTS:
            yield from _table(*_from_config(config))
        elif not fits:
            mend = (
                "free memory, or run doctor where the model fits: the sites of this type are found on the loaded model"
            )
            yield Check(
                "sites", "warning", f"{config.model_type} is not in the table, and the model does not fit", mend
            )
        else:
            yield from _table(*_from_weights(spec, device))
    except SsnError as error:
        yield Check("sites", "failed", f"refused: {error}", "see docs/reference/architectures.md for what is supported")


def _from_config(config: Any) -> tuple[Found, dict[str, int]]:
    from ssn_eval.models import memory
    from ssn_eval.models.architectures.resolving import found_of, geometry

    model = memory.empty(config)
    return found_of(model), dict(geometry(model).widths)


def _from_weights(spec: ModelSpec, device: str | None) -> tuple[Found, dict[str, int]]:
    from ssn_eval.models import loading
    from ssn_eval.models.architectures.resolving import found_of

    loaded = loading.load(spec, device=device)
    return found_of(loaded.model), dict(loaded.ref.geometry.widths)


def _table(found: Found, widths: dict[str, int]) -> Iterator[Check]:
    """One line a kind of site: in which layers, how wide, how found; then what is missing or absent, and remarks."""
    by_kind: dict[str, dict[int, int]] = {}
    for key, width in widths.items():
        layer, site = parse_key(key)
        name = "mlp.<expert>" if site.startswith("mlp.") else site
        by_kind.setdefault(name, {})[layer] = width
    for name, layers in by_kind.items():
        sizes = sorted(set(layers.values()))
        width = " or ".join(map(str, sizes))
        yield Check(f"site {name}", "ok", f"{_FOUND[found.origin]}: {width} neurons in {_layers(list(layers))}")
    reasons: dict[tuple[str, str, str], list[int]] = {}
    for i, layer in enumerate(found.layers):
        for word, entries in (("refused", layer.missing), ("none", layer.absent)):
            for site, why in entries.items():
                reasons.setdefault((word, site_kind(site), why), []).append(i)
    for (word, site, why), layers in reasons.items():
        status = "warning" if word == "refused" else "ok"
        mend = "choose other sites (--sites), or the layers that have it" if word == "refused" else None
        yield Check(f"site {site} in {_layers(layers)}", status, f"{word}: {why}", mend)
    notes = list(dict.fromkeys(note for layer in found.layers for note in layer.notes))
    if notes:
        yield Check("sites: remarks", "ok", "; ".join(notes))


def _layers(indices: Sequence[int]) -> str:
    """Layers as runs: `layers 0-3, 7`."""
    from ssn_eval.models.architectures.found import spans

    runs = [f"{start}" if end == start + 1 else f"{start}-{end - 1}" for start, end in spans(sorted(indices))]
    return f"layer{'s' if len(indices) > 1 else ''} {', '.join(runs)}"
