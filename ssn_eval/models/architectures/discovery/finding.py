"""Find the sites of a model by experiment: one layer of each kind thoroughly, the others of the same structure by a cheap check."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from torch import nn

from ssn_eval.core.errors import ArchitectureError
from ssn_eval.models.architectures.discovery import attention, norms, perceptron, stacks
from ssn_eval.models.architectures.discovery.attention import SITE_OF, Attention
from ssn_eval.models.architectures.discovery.layer_list import observe, text_config, value
from ssn_eval.models.architectures.discovery.linears import Graph, Linear, Trace, graph, trace
from ssn_eval.models.architectures.discovery.passes import NOT_CALLED, Bench, bench_of
from ssn_eval.models.architectures.discovery.perceptron import Perceptron
from ssn_eval.models.architectures.found import Fixed, Found, FoundLayer
from ssn_eval.models.architectures.layouts import Layout, Place

_ALL = (*SITE_OF.values(), "o_proj", "mlp")


class Study(NamedTuple):
    """Everything that was found in one layer."""

    attentions: list[Attention]
    perceptron: Perceptron | None
    norms: dict[str, norms.Norm]
    experts: str | None
    absent: dict[str, str]
    missing: dict[str, str]
    notes: tuple[str, ...]


def discover(model: nn.Module, *, every: bool = False) -> Found:
    """Find and prove the sites of a model.

    Args:
        model: a causal language model in eval mode; it is as before afterwards.
        every: try every coordinate of every layer, and not samples.

    Raises:
        ArchitectureError: it does not run on text, or has no list of decoder layers.
    """
    path, layers, inputs, decoder = observe(model)
    benches = [bench_of(layer, calls) for layer, calls in zip(layers, inputs, strict=True)]
    studies: dict[tuple[Any, ...], tuple[Study, Bench]] = {}
    found: list[FoundLayer] = []
    for i, bench in enumerate(benches):
        if isinstance(bench, str):
            reasons = dict.fromkeys(_ALL, bench)
            empty = Layout(path, {}, ())
            found.append(
                FoundLayer(empty, absent=reasons) if bench == NOT_CALLED else FoundLayer(empty, missing=reasons)
            )
            continue
        config = _config_of_layer(text_config(model), i)
        seen = trace(bench)
        kind = _kind(bench.layer, seen, config, i)
        borrowed = _borrowed(studies, bench.layer)
        study = None
        if kind in studies and not every:
            study = _confirmed(studies[kind][0], bench, seen, config)
        if study is None:
            study = study_layer(bench, seen, config, borrowed, every=every)
            studies.setdefault(kind, (study, bench))
        found.append(_layer(path, study))
    if not any(layer.layout.sites for layer in found):
        reasons = "; ".join(dict.fromkeys(r for layer in found for r in layer.missing.values()))
        raise ArchitectureError(f"No site of this {model.config.model_type} model could be proven: {reasons[:300]}.")  # type: ignore[union-attr]
    return Found("experiment", tuple(found), decoder)


def study_layer(bench: Bench, seen: Trace, config: Any, borrowed: str | None = None, *, every: bool = False) -> Study:
    """Find the sites of one layer.

    Args:
        bench: the layer.
        seen: its linear modules.
        config: of the layer's decoder.
        borrowed: the output projection of other layers of this class, for a layer whose keys and values are another layer's.
        every: try every coordinate.
    """
    links = graph(bench, seen.linears)
    projections = attention.outputs(bench, seen, links)
    by_name = {a.name: a for a in seen.linears}
    if not projections and borrowed in by_name:
        projections = [by_name[borrowed]]
    attentions = [attention.study(bench, o, seen, links, config, every=every) for o in projections]
    attentions.sort(key=lambda found: (len(found.sources), found.output.inputs), reverse=True)
    missing: dict[str, str] = {}
    notes: list[str] = []
    if links.acausal:
        notes.append("later tokens reach earlier ones")
    kept: list[Attention] = []
    for n, found in enumerate(attentions):
        complaint = _complaint(found, config, attention.head_width(config, found.output.inputs))
        if complaint:
            missing |= dict.fromkeys(SITE_OF.values(), complaint)
            found = found._replace(sources={})  # noqa: PLW2901
        if n and found.sources:
            notes.append(f"a second attention before {found.output.name} is left out")
        kept.append(found)
        notes += found.notes
    taken = [a.output.name for a in kept] + [s.linear.name for a in kept for s in a.sources.values()]
    mlp, others = perceptron.study(bench, seen, links, taken, config, every=every)
    behind = norms.find(bench, kept[0].sources) if kept else {}
    stack, refusal = stacks.find(bench, config)
    notes += _notes(kept, behind, mlp, others)
    absent, unproven = _missing(bench, kept, mlp, stack, refusal, seen, links)
    return Study(kept, mlp, behind, stack, absent, unproven | missing, tuple(notes))


def _kind(layer: nn.Module, seen: Trace, config: Any, index: int) -> tuple[Any, ...]:
    """What layers of one kind have in common: classes, linear modules with their widths, and the config's name of the kind."""
    types = getattr(config, "layer_types", None)
    name = types[index] if isinstance(types, list) and index < len(types) else None
    modules = tuple((path, type(module)) for path, module in layer.named_modules())
    return (modules, name, tuple((a.name, a.inputs, a.outputs, a.is_flat) for a in seen.linears))


def _borrowed(studies: dict[tuple[Any, ...], tuple[Study, Bench]], layer: nn.Module) -> str | None:
    """The output projection of an attention in another layer of the same class."""
    for study, bench in studies.values():
        if type(bench.layer) is type(layer) and study.attentions and study.attentions[0].sources:
            return study.attentions[0].output.name
    return None


def _confirmed(study: Study, bench: Bench, seen: Trace, config: Any) -> Study | None:
    """The study of a layer of the same kind, with this layer's modules; None if this layer does not behave in the same way."""
    by_name = {a.name: a for a in seen.linears}

    def here(linear: Linear) -> Linear:
        return by_name[linear.name]

    try:
        attentions = [
            a._replace(
                output=here(a.output), sources={k: s._replace(linear=here(s.linear)) for k, s in a.sources.items()}
            )
            for a in study.attentions
        ]
        mlp = study.perceptron and study.perceptron._replace(
            down=here(study.perceptron.down),
            rows=tuple(r._replace(linear=here(r.linear)) for r in study.perceptron.rows),
        )
    except KeyError:
        return None
    for found in attentions:
        head = attention.head_width(config, found.output.inputs)
        if found.sources and not attention.agrees(bench, found.output, found.sources, head):
            return None
    if mlp and mlp.rows and not perceptron.zeros_are_zeros(bench, mlp.down, mlp.rows, quick=True):
        return None
    if study.experts and stacks.refusal(bench, bench.layer.get_submodule(study.experts), study.experts):
        return None
    return study._replace(attentions=attentions, perceptron=mlp)


def _complaint(found: Attention, config: Any, head: int) -> str | None:
    """Why the widths of an attention do not fit the config or each other."""
    if not found.sources:
        return None
    widths = {kind: len(source.coordinates) for kind, source in found.sources.items()}
    heads = value(config, *attention.HEADS)
    if heads and widths.get("q", heads) % heads:
        return f"the query has {widths['q']} coordinates, no multiple of {heads} heads"
    rank, nope, rope, head_v = (
        value(config, n) for n in ("kv_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim")
    )
    if rank and nope and head_v and heads:
        wanted = {"q": heads * (nope + (rope or 0)), "k": heads * nope, "v": heads * head_v}
        wrong = [f"{k} {widths[k]} of {w}" for k, w in wanted.items() if k in widths and widths[k] != w]
        return f"the widths of latent attention do not fit the config: {', '.join(wrong)}" if wrong else None
    q, k, v, o = (widths.get("q"), widths.get("k"), widths.get("v"), found.output.inputs)
    if v and o % v:
        return f"the values have {v} coordinates beside {o} of the output projection"
    if q and k and v and (q % k or q // k != o // v):
        return f"the widths q {q}, k {k}, v {v} and o {o} do not fit together"
    return None


def _missing(
    bench: Bench,
    found: Sequence[Attention],
    mlp: Perceptron | None,
    stack: str | None,
    refusal: str | None,
    seen: Trace,
    links: Graph,
) -> tuple[dict[str, str], dict[str, str]]:
    """The sites that the layer does not have, and those that it may have but that were not proven; each with the reason."""
    absent: dict[str, str] = {}
    missing: dict[str, str] = {}
    unusable = ", ".join(f"{name} {why}" for name, why in list(seen.refused.items())[:3])
    because = f" ({unusable})" if unusable else ""
    names = tuple(SITE_OF.values())
    if not found and not bench.mixes_times():
        absent |= dict.fromkeys((*names, "o_proj"), "the layer has no attention and no recurrence")
    elif not found:
        missing |= dict.fromkeys((*names, "o_proj"), f"no linear module is behind a mixing of times{because}")
    elif not found[0].sources and not seen.refused:
        absent |= dict.fromkeys(names, "the layer is recurrent: nothing acts as a query")
    elif not found[0].sources:
        missing |= dict.fromkeys(names, f"nothing acts as a query{because}")
    else:
        for kind, site in SITE_OF.items():
            if kind in found[0].sources:
                continue
            if found[0].is_shared:
                absent[site] = "keys and values come from another layer"
            elif kind == "k" and "v" in found[0].sources:
                absent[site] = "one module gives key and value at once; its neurons are those of v_proj"
            else:
                missing[site] = f"not found{because}"
    if mlp is None and not stack:
        outputs = {a.output.name for a in found}
        ends = all(a.name in outputs or any((a.name, o) in links.feeds for o in outputs) for a in seen.linears)
        if refusal or not ends or not outputs or seen.refused:
            missing["mlp"] = refusal or f"no down projection has rows that reach one coordinate each{because}"
        else:
            absent["mlp"] = "the layer has no MLP"
    elif refusal and not stack:
        missing["mlp.<e>"] = refusal
    return absent, missing


def _notes(
    found: Sequence[Attention], behind: dict[str, norms.Norm], mlp: Perceptron | None, others: Sequence[str]
) -> list[str]:
    notes = [
        f"{SITE_OF[kind]} goes through {norm.name}, which is no RMS norm"
        for kind, norm in behind.items()
        if not norm.is_rms
    ]
    for kind, source in (found[0].sources if found else {}).items():
        if source.normed and kind not in behind:
            notes.append(
                f"{SITE_OF[kind]} is normalised by no module that takes it, so the sketch is only an estimate there"
            )
    if mlp and mlp.note:
        notes.append(f"mlp: {mlp.note}")
    if others:
        notes.append(f"not addressed: {', '.join(others)}")
    return notes


def _layer(path: str, study: Study) -> FoundLayer:
    """A study as places by name."""
    sites: dict[str, Place] = {}
    for n, found in enumerate(study.attentions):
        if n == 0:
            for kind, source in found.sources.items():
                part = None if source.is_whole else Fixed(source.coordinates)
                place = Place(source.linear.name, "output", part, is_flat=source.linear.is_flat)
                norm = study.norms.get(kind)
                sites[SITE_OF[kind]] = (
                    place._replace(norm=norm.name, norm_time=norm.time) if norm and norm.is_rms else place
                )
        sites["o_proj" if n == 0 else f"o_proj.{n}"] = Place(found.output.name, "input", is_flat=found.output.is_flat)
    rows: tuple[Place, ...] = ()
    if study.perceptron:
        sites["mlp"] = Place(study.perceptron.down.name, "input", is_flat=study.perceptron.down.is_flat)
        rows = tuple(
            Place(r.linear.name, "output", None if r.is_whole else Fixed(r.coordinates)) for r in study.perceptron.rows
        )
    beside = bool(study.experts and study.perceptron)
    return FoundLayer(Layout(path, sites, rows, study.experts, beside), study.absent, study.missing, study.notes)


def _config_of_layer(config: Any, index: int) -> Any:
    """The config of one layer, where layers have their own (Gemma 4)."""
    try:
        return config.per_layer_config[index]
    except Exception:  # noqa: BLE001  # configs raise what they like for a name that they lack
        return config
