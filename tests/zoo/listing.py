"""The list of every architecture of transformers: what is proven, what is refused and why, and the page that shows it."""

from __future__ import annotations

import signal
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ssn_eval.core.errors import ArchitectureError
from ssn_eval.models.architectures.found import Found
from ssn_eval.models.architectures.layouts import LAYOUTS
from ssn_eval.models.architectures.resolving import found_of

from . import building, checking, training

MILD = 0.5
"""gain of the weights of models that are trained"""
SECONDS = 100
"""after which a model counts as not built"""


def everything() -> dict[str, dict[str, Any]]:
    """`<type> <class>` → what is known about it; pairs that cannot be built or do not run on text are left out."""
    return {f"{kind} {name}": pair for kind, name in building.pairs() if (pair := one(kind, name)) is not None}


def one(kind: str, class_name: str) -> dict[str, Any] | None:
    """One pair; None if a tiny model cannot be built or does not run on text alone."""
    if kind in building.TOO_LARGE:
        return None
    try:
        with _limited(SECONDS):
            model = building.build(kind, class_name)
            checking.logits(model)
    except Exception:  # noqa: BLE001  # the code of 300 models: what does not run on text is no candidate
        return None
    try:
        found = found_of(model)
    except ArchitectureError as error:
        return {"proven": False, "refused": [str(error)]}
    faults = checking.differences(model)
    refused = sorted({f"{site}: {why}" for layer in found.layers for site, why in layer.missing.items()}) + faults
    pair: dict[str, Any] = {"proven": not refused, "found": found.origin, "layers": _layers(found)}
    if refused:
        pair["refused"] = refused
    notes = sorted({note for layer in found.layers for note in layer.notes})
    return pair | ({"notes": notes} if notes else {})


def untrained(pairs: dict[str, dict[str, Any]]) -> dict[str, str]:
    """`<type> <class>` → what is wrong with one step of a neuron-LoRA on all of its sites; pairs without a fault are left out."""
    reasons: dict[str, str] = {}
    for name in (name for name, pair in pairs.items() if pair.get("layers")):
        kind, class_name = name.split(" ")
        model = building.build(kind, class_name, gain=MILD)
        with tempfile.TemporaryDirectory() as folder:
            try:
                found = training.faults(model, training.a_set(model), Path(folder) / "adapter")
            except ArchitectureError as error:
                found = [str(error)]
        if found:
            reasons[name] = "; ".join(found)
    return reasons


def _layers(found: Found) -> dict[str, int]:
    """Sites of a layer → how many layers have these."""
    names = []
    for layer in found.layers:
        sites = [
            site for site in layer.layout.sites if site != "mlp" or layer.layout.beside or not layer.layout.experts
        ]
        names.append(" ".join(sites + (["experts"] if layer.layout.experts else [])) or "none")
    return dict(Counter(names))


@contextmanager
def _limited(seconds: int) -> Iterator[None]:
    def stop(*_: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def page(data: dict[str, Any], untrained: dict[str, str]) -> str:
    """`docs/reference/architectures.md`.

    Args:
        data: of `zoo.json`.
        untrained: of `untrained.json`.
    """
    pairs = data["pairs"]
    proven = {name: pair for name, pair in pairs.items() if pair["proven"]}
    refused = {name: pair for name, pair in pairs.items() if not pair["proven"]}
    lines = [
        "# Architectures",
        "",
        "<!-- written by `python -m tests.zoo`; do not edit -->",
        "",
        f"Transformers {data['transformers']} has {len(pairs)} pairs of model type and class whose tiny model builds and runs on text. In "
        f"{len(proven)} of them every site of every layer is proven: a hook equals the weights in the logits, and queries, keys and "
        f"values have their causal signature. {len(LAYOUTS)} types are in a table by hand; all others are found by experiment when the model is loaded "
        "([your own model](../howto/own-model.md)). The models here are tiny and random; no real checkpoint of these types was loaded for this list.",
        "",
        "`experts` stands for one site `mlp.<e>` for each routed expert. A layer that is recurrent has no queries, keys and values.",
        "",
        f"## Proven: {len(proven)}",
        "",
        "| type | class | sites of its layers | remarks |",
        "|---|---|---|---|",
    ]
    for name, pair in sorted(proven.items()):
        kind, class_name = name.split(" ")
        layers = "; ".join(f"{sites} × {count}" for sites, count in pair["layers"].items())
        remarks = ["in the table"] if pair["found"] == "table" else []
        lines.append(
            f"| {kind} | {class_name} | {layers} | {'; '.join(remarks + pair.get('notes', []))} |".replace("<e>", "e")
        )
    lines += ["", f"## Refused, wholly or in part: {len(refused)}", "", "| type | class | reason |", "|---|---|---|"]
    for name, pair in sorted(refused.items()):
        kind, class_name = name.split(" ")
        reasons = "; ".join(pair["refused"]).replace("|", "\\|").replace("<e>", "e")
        lines.append(f"| {kind} | {class_name} | {reasons} |")
    trained = sum(1 for pair in pairs.values() if pair.get("layers")) - len(untrained)
    lines += [
        "",
        f"## Neuron-LoRA, and its exceptions: {len(untrained)}",
        "",
        f"One step of a neuron-LoRA on neurons of every site, routed experts included, equals a step of masked gradients on {trained} pairs, moves nothing "
        "else, is saved, loaded by stock PEFT and by `ssn_hf`, and merged. The exceptions can be trained in their other sites, and in all sites by masked "
        "gradients (`grad_mask`):",
        "",
        "| type | class | reason |",
        "|---|---|---|",
    ]
    lines += [
        f"| {name.replace(' ', ' | ')} | {reason.replace('|', chr(92) + '|')} |"
        for name, reason in sorted(untrained.items())
    ]
    untried = "; ".join(f"{kind}: {why}" for kind, why in building.TOO_LARGE.items())
    return "\n".join([*lines, "", f"Not tried: {untried}.", ""])
