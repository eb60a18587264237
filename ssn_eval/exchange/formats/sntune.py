"""SN-Tune's neuron files: text of five lines, one dict literal each.

The lines are, in this order, ffn_up, ffn_down, attn_q, attn_k and attn_v, each `{layer: {index, …}, …}` with every layer
named and `set()` where it has none:

    {0: {17, 4}, 1: set()}

Read in the scripts around "Understanding and Enhancing Safety Mechanisms of LLMs via Safety-Specific Neuron" (SN-Tune,
openreview.net/forum?id=yR47RmND1m), https://github.com/min-seong-kim/Safety-Neuron: `neuron_detection/*.py` write it with
`str()`, `SN-Tune/sn_tune.py` and `neuron_deactivate/*.py` read it with `eval` and take intersections of the sets. Some
scripts write JSON lines (`{"0": [4, 17]}`), some indices as `'neuron_17'`, some one JSON object of named sections, which
may have `attn_o`: all are read. What is written is the literal with sets, since only that works in all of their readers.

A neuron of ffn_up is a row of up_proj, one of ffn_down a column of down_proj: both are our `mlp`.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping

from ssn_eval.core.errors import FormatError, MismatchError
from ssn_eval.core.neurons import Geometry, Neuron, NeuronSet, site_key
from ssn_eval.exchange.formats.reading import Found, text, whole

SECTIONS = ("ffn_up", "ffn_down", "attn_q", "attn_k", "attn_v")
_SITES = {
    "ffn_up": "mlp",
    "ffn_down": "mlp",
    "attn_q": "q_proj",
    "attn_k": "k_proj",
    "attn_v": "v_proj",
    "attn_o": "o_proj",
}
_NAMES = {"fwd_up": "ffn_up", "fwd_down": "ffn_down", "q": "attn_q", "k": "attn_k", "v": "attn_v", "o": "attn_o"}
"""other names for sections, in files of one object"""
_WHAT = "an SN-Tune file (five dict literals: ffn_up, ffn_down, attn_q, attn_k, attn_v)"


def dump(neurons: NeuronSet, num_layers: int) -> str:
    """Five lines with every layer; an `mlp` neuron is written in ffn_up and in ffn_down. Other sites are not written."""
    by_key = neurons.by_key()

    def literal(layer: int, site: str) -> str:
        indices = by_key.get(site_key(layer, site))
        return f"{layer}: {{{', '.join(map(str, indices))}}}" if indices else f"{layer}: set()"

    lines = (", ".join(literal(layer, _SITES[name]) for layer in range(num_layers)) for name in SECTIONS)
    return "".join(f"{{{line}}}\n" for line in lines)


def parse(data: bytes, name: str) -> Found:
    """Read such a file; `mlp` is the union of ffn_up and ffn_down, and a note says in which layers they differ.

    Raises:
        FormatError: it has another layout, or an index is no whole number.
    """
    neurons_by_section = {section: _neurons(layers, section, name) for section, layers in _sections(data, name).items()}
    neurons = NeuronSet(frozenset[Neuron]().union(*(part.members for part in neurons_by_section.values())))
    up, down = (neurons_by_section.get(section, NeuronSet(frozenset())) for section in SECTIONS[:2])
    if up == down:
        return Found(neurons)
    note = (
        f"{len(up - down)} mlp neurons were in ffn_up alone and {len(down - up)} in ffn_down alone; all were taken. "
        "A script that counts the outputs of down_proj in ffn_down means no neuron by them: empty that section first."
    )
    return Found(neurons, (note,))


def refuse_repeated_heads(neurons: NeuronSet, geometry: Geometry, name: str) -> None:
    """Stop if K or V is counted once for each query head, as some scripts do for grouped-query attention.

    The scripts differ in the row that they mean, so no row is guessed.

    Raises:
        MismatchError: an index lies beyond K's or V's width but within Q's.
    """
    for layer, site, index in neurons:
        key = site_key(layer, site)
        queries = geometry.widths.get(site_key(layer, "q_proj"), 0)
        if site in ("k_proj", "v_proj") and geometry.widths.get(key, queries) <= index < queries:
            raise MismatchError(
                f"Neuron {index} of {key} in {name} does not exist: that site has {geometry.widths[key]} neurons. The file "
                "seems to count K and V once per query head; make it anew with K and V counted by rows of their weights."
            )


def _sections(data: bytes, name: str) -> dict[str, object]:
    """Section → its layers: five lines in order, or one object of named sections."""
    written = text(data, _WHAT, name)
    lines = [line for line in written.splitlines() if line.strip()]
    if len(lines) == len(SECTIONS) and all(line.lstrip().startswith("{") for line in lines):
        return {section: _literal(line, name) for section, line in zip(SECTIONS, lines, strict=True)}
    whole_file = _literal(written, name)
    if not isinstance(whole_file, Mapping) or not whole_file:
        raise FormatError(f"{name} is not {_WHAT}: it has {len(lines)} lines.")
    sections = {_NAMES.get(str(key), str(key)): layers for key, layers in whole_file.items()}
    if len(sections) < len(whole_file) or not set(sections) <= set(_SITES):
        unknown = ", ".join(sorted(set(sections) - set(_SITES)))[:80] or "one section twice"
        raise FormatError(f"{name} is not {_WHAT}: it has {unknown}.")
    return sections


def _literal(line: str, name: str) -> object:
    """A Python literal, which JSON of numbers, strings, lists and objects also is; nothing is ever evaluated."""
    try:
        return ast.literal_eval(line.strip())
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError) as error:
        raise FormatError(f"{name} is not {_WHAT}: a literal in it is broken.") from error


def _neurons(layers: object, section: str, name: str) -> NeuronSet:
    if not isinstance(layers, Mapping):
        raise FormatError(f"{name}: {section} must be a dict of layers, not {type(layers).__name__}.")
    neurons: list[tuple[int, str, int]] = []
    for key, indices in layers.items():
        layer = int(key) if isinstance(key, str) and re.fullmatch(r"\d{1,9}", key, re.ASCII) else key
        if isinstance(layer, str) and "expert" in layer:
            raise FormatError(
                f"{name}: {section} names experts ({layer[:40]!r}); SN-Tune files of experts are not read."
            )
        number = whole(layer, f"a layer of {section}", name)
        if not isinstance(indices, set | frozenset | list | tuple):
            raise FormatError(f"{name}: {section}, layer {number}, must be a set or list of indices.")
        neurons += ((number, _SITES[section], _index(i, f"an index of {section}", name)) for i in indices)
    return NeuronSet.of(neurons)


def _index(value: object, kind: str, name: str) -> int:
    match = re.fullmatch(r"neuron_(\d{1,9})", value, re.ASCII) if isinstance(value, str) else None
    return int(match[1]) if match else whole(value, kind, name)
