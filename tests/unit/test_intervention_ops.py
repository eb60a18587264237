"""Ops as text, several sets at once, and what becomes of a single neuron."""

from __future__ import annotations

import numpy as np
import pytest

from ssn_eval.core.errors import ConflictError, EmptySetError, FormatError, MismatchError, ParamsError, UnknownNameError
from ssn_eval.core.neurons import Geometry, NeuronSet
from ssn_eval.core.origin import ModelRef
from ssn_eval.interventions import reference as references
from ssn_eval.interventions.ops import (
    MEAN,
    NONE,
    SUPPRESS,
    Intervention,
    Layers,
    Op,
    combine,
    describe_all,
    parse_layers,
    parse_op,
    parse_positions,
)
from ssn_eval.interventions.plan import plan
from ssn_eval.interventions.reference import Activations, Reference

SHAPE = Geometry({"layers.0.q_proj": 4, "layers.0.mlp": 6, "layers.1.q_proj": 4, "layers.1.mlp": 6})
A = NeuronSet.of([(0, "q_proj", 1), (1, "mlp", 2)])
B = NeuronSet.of([(1, "mlp", 2), (1, "q_proj", 0)])
MEASURED = Activations(np.array([1, 3]), np.array([0.5, -1.0]), np.linspace([0, -100], [100, 100], 101))
REFERENCE = Reference({"layers.0.q_proj": MEASURED}, ModelRef("m", "0" * 64, "llama", SHAPE), {"lang": "en"})


def test_ops_as_text():
    known = {"suppress": SUPPRESS, "scale:2": Op(2.0), "mean": MEAN, "set:0.95": Op(0.0, 0.95), "none": NONE, "scale:-0.125": Op(-0.125)}  # fmt: skip
    for text, op in known.items():
        assert parse_op(text) == op and str(op) == text
    assert parse_op(None) == NONE and parse_op("scale:0") == SUPPRESS
    assert str(parse_op("scale:1.00000001")) == "scale:1.00000001"  # two conditions never share a name
    with pytest.raises(UnknownNameError, match="Did you mean suppress"):
        parse_op("supress")
    for text in ("scale:", "scale:nan", "scale:inf", "scale:-inf", "scale:x"):
        with pytest.raises(ParamsError, match="finite number"):
            parse_op(text)
    for text in ("set:", "set:1.5", "set:-0.1", "set:nan"):
        with pytest.raises(ParamsError, match="quantile from 0 to 1"):
            parse_op(text)


def test_layers_and_positions_as_text():
    assert parse_layers("0-11") == Layers(0, 11) and parse_layers(5) == parse_layers("5") == Layers(5, 5)
    assert parse_layers(None) is None and str(Layers(0, 3)) == "0-3" and str(Layers(2, 2)) == "2"
    for text in ("3-1", "a", "1-", "-1", "0-1-2", 1.5):
        with pytest.raises(ParamsError, match="no range of layers"):
            parse_layers(text)  # type: ignore[arg-type]
    assert [parse_positions(t) for t in (None, "all", "prompt", "generated")] == ["all", "all", "prompt", "generated"]
    with pytest.raises(UnknownNameError, match="Did you mean prompt"):
        parse_positions("prompts")


def test_one_for_all_or_one_for_each():
    assert combine([A, B], ["suppress"]) == [Intervention(A, SUPPRESS), Intervention(B, SUPPRESS)]
    assert combine([A, B], ["suppress", "scale:2"], ["0-1", None], ["prompt"]) == [
        Intervention(A, SUPPRESS, Layers(0, 1), "prompt"), Intervention(B, Op(2.0), None, "prompt")
    ]  # fmt: skip
    with pytest.raises(ParamsError, match="3 ops for 2 neuron sets"):
        combine([A, B], ["suppress"] * 3)


def test_a_plan_says_what_becomes_of_every_neuron():
    found = plan(SHAPE, [Intervention(A, Op(2.0)), Intervention(B - A, SUPPRESS, positions="generated")])
    assert found.prompt == {"layers.0.q_proj": {1: (2.0, 0.0)}, "layers.1.mlp": {2: (2.0, 0.0)}}
    assert found.generated == {**found.prompt, "layers.1.q_proj": {0: (0.0, 0.0)}}
    assert plan(SHAPE, [Intervention(A, SUPPRESS, Layers(1, 1))]).prompt == {"layers.1.mlp": {2: (0.0, 0.0)}}
    assert plan(SHAPE, [Intervention(A, NONE)]).keys() == []


def test_a_neuron_with_two_ops_is_a_named_conflict():
    with pytest.raises(ConflictError, match=r"Neuron 2 of layers\.1\.mlp .* scale:2 .* suppress"):
        plan(SHAPE, [Intervention(A, SUPPRESS), Intervention(B, Op(2.0))])
    with pytest.raises(ConflictError, match="generated"):
        plan(SHAPE, [Intervention(A, SUPPRESS, positions="generated"), Intervention(B, Op(2.0))])
    with pytest.raises(ConflictError):
        plan(SHAPE, [Intervention(A, SUPPRESS), Intervention(B, NONE)])
    both = plan(SHAPE, [Intervention(A, SUPPRESS), Intervention(B, SUPPRESS)])
    assert both == plan(SHAPE, [Intervention(A | B, SUPPRESS)])  # the same op once, not twice
    apart = [Intervention(A, SUPPRESS, positions="prompt"), Intervention(B, Op(2.0), positions="generated")]
    assert plan(SHAPE, apart).generated["layers.1.mlp"] == {2: (2.0, 0.0)}
    plan(SHAPE, [Intervention(A, SUPPRESS, Layers(0, 0)), Intervention(B, Op(2.0))])


def test_constants_come_from_the_reference():
    chosen = NeuronSet.of([(0, "q_proj", 1), (0, "q_proj", 3)])
    means = plan(SHAPE, [Intervention(chosen, MEAN)], REFERENCE).prompt["layers.0.q_proj"]
    assert means == {1: (0.0, 0.5), 3: (0.0, -1.0)}
    found = plan(SHAPE, [Intervention(chosen, parse_op("set:0.955"))], REFERENCE).prompt["layers.0.q_proj"]
    assert found[1][1] == pytest.approx(95.5) and found[3][1] == pytest.approx(91)
    with pytest.raises(ParamsError, match="ssn reference"):
        plan(SHAPE, [Intervention(chosen, MEAN)])
    with pytest.raises(ParamsError, match=r"no activations of neuron 2 of layers\.1\.mlp"):
        plan(SHAPE, [Intervention(A, MEAN)], REFERENCE)
    smaller = Geometry({"layers.0.q_proj": 4})
    with pytest.raises(MismatchError, match="measured on m"):
        plan(smaller, [Intervention(chosen, MEAN)], REFERENCE)


def test_bad_sets_and_layers_are_named():
    with pytest.raises(EmptySetError, match="empty"):
        plan(SHAPE, [Intervention(NeuronSet(frozenset()), SUPPRESS)])
    with pytest.raises(EmptySetError, match="no neuron in layers 0; it has some in 1"):
        plan(SHAPE, [Intervention(B, SUPPRESS, Layers(0, 0))])
    with pytest.raises(ParamsError, match="layers 0-2 were asked for, but the model has 2"):
        plan(SHAPE, [Intervention(B, SUPPRESS, Layers(0, 2))])
    with pytest.raises(MismatchError, match="Neuron 9"):
        plan(SHAPE, [Intervention(NeuronSet.of([(0, "mlp", 9)]), SUPPRESS)])


def test_what_an_artefact_records():
    assert describe_all([Intervention(A, MEAN, Layers(1, 1), "prompt")]) == [
        {"op": "mean", "positions": "prompt", "neurons": 1, "layers": [1], "per_site": {"mlp": 1}}
    ]


def test_a_reference_file_round_trips_and_says_what_is_wrong_with_it(tmp_path):
    path = tmp_path / "ref.safetensors"
    references.save(path, REFERENCE)
    found = references.load(path)
    assert found.model == REFERENCE.model and found.provenance == {"lang": "en"}
    assert found.constant("layers.0.q_proj", 3, "mean") == -1.0
    first = path.read_bytes()
    references.save(path, REFERENCE)
    assert path.read_bytes() == first
    broken = Activations(MEASURED.index, np.array([np.nan, 0]), MEASURED.percentiles)
    with pytest.raises(FormatError, match="NaN"):
        references.save(path, Reference({"layers.0.q_proj": broken}, REFERENCE.model))
    assert path.read_bytes() == first
    with pytest.raises(ParamsError, match="another ending"):
        references.save(tmp_path / "ref.json", REFERENCE)
    outside = Activations(np.array([1, 7]), MEASURED.mean, MEASURED.percentiles)
    references.save(path, Reference({"layers.0.q_proj": outside}, REFERENCE.model))
    with pytest.raises(FormatError, match="shape"):
        references.load(path)
    path.write_bytes(first[:200])
    with pytest.raises(FormatError, match="damaged"):
        references.load(path)
