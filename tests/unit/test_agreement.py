"""The agreement table on sets whose overlap can be counted by hand, its rows by name, its command, and its place in the report."""

from __future__ import annotations

import json

import numpy as np
import pytest
import results_made
from click.testing import CliRunner
from results_made import SELECT, write

from ssn_eval.cli import main
from ssn_eval.core import choices, store
from ssn_eval.core.choices import Choice
from ssn_eval.core.errors import MismatchError, ParamsError, UnknownNameError
from ssn_eval.core.moments import Moments
from ssn_eval.core.neurons import Geometry, NeuronSet
from ssn_eval.core.origin import ModelRef
from ssn_eval.core.rules import RULES
from ssn_eval.core.settings import ALONE, SelectParams
from ssn_eval.identification.agreement import EMPTY, Row, agreement, of_rules
from ssn_eval.identification.rules import Evidence
from ssn_eval.report import neuron_tables
from ssn_eval.report import results as report_results
from ssn_eval.stages import story

FOUR = Geometry({"layers.0.mlp": 4})


def of(*indices: int) -> NeuronSet:
    return NeuronSet.from_keys({"layers.0.mlp": indices})


def test_two_of_four_neurons_against_two_of_four():
    """By chance the overlap is 0, 1 or 2 with 1/6, 4/6 and 1/6, so the index is 4/6 · 1/3 + 1/6 · 1 = 7/18."""
    stability = {"sizes": [2, 2], "jaccard": 0.5, "chance": 0.4}
    rows = {"a": Row(of(0, 1), stability), "b": Row(of(1, 2)), "none": Row(EMPTY), "nothing": Row(EMPTY)}
    found = agreement(rows, FOUR)
    assert found["rows"][0] == {"name": "a", "size": 2, "stability": stability}
    assert found["rows"][2] == {"name": "none", "size": 0, "stability": None}
    pairs = {(p["first"], p["second"]): (p["shared"], p["jaccard"], p["chance"]) for p in found["pairs"]}
    assert len(pairs) == 6
    assert pairs["a", "b"] == (1, 0.3333, 0.3889)
    assert pairs["a", "none"] == (0, 0.0, 0.0)
    assert pairs["none", "nothing"] == (0, None, None)


def test_experts_of_a_mixture_are_sites_of_their_own():
    geometry = Geometry({"layers.0.mlp.0": 4, "layers.0.mlp.1": 4})
    a, b = (NeuronSet.from_keys({"layers.0.mlp.0": two}) for two in ([0, 1], [1, 2]))
    (pair,) = agreement({"a": Row(a), "b": Row(b)}, geometry)["pairs"]
    assert pair["chance"] == 0.3889


def test_a_set_of_another_model_is_refused():
    with pytest.raises(MismatchError, match="the set b"):
        agreement({"a": Row(of(1)), "b": Row(of(9))}, FOUR)


def test_rows_by_name():
    assert choices.parse("contrast", ALONE) == Choice("contrast")
    assert choices.parse("shift@activation", ALONE) == Choice("shift", "activation")
    assert choices.parse("pathway", ALONE) == Choice("paper", is_pathway=True)
    assert choices.parse("model_diff:ssn", ALONE) == Choice("paper", "model_diff", "ssn")
    with pytest.raises(UnknownNameError, match="contrast"):
        choices.parse("contrats", ALONE)
    with pytest.raises(UnknownNameError, match="activation"):
        choices.parse("shift@activatoin", ALONE)
    with pytest.raises(ParamsError, match="model_diff:ssn"):
        choices.parse("model_diff", ALONE)
    with pytest.raises(UnknownNameError, match="full"):
        choices.check({"ss": ["model_diff:full"]}, ALONE, ["ssn"])
    with pytest.raises(UnknownNameError, match="ms_hr"):
        choices.check({"private": []}, ALONE, [])


def test_the_pipeline_has_a_stage_for_each_set_that_is_asked_for():
    pipeline = {"stages": {"agreement": {"foreach": "${agreement}"}, "report": {}}}
    assert story.stages(pipeline, {"agreement": {}}) == ["report"]
    assert story.stages(pipeline, {"agreement": {"ss": ["pathway"]}}) == ["agreement@ss", "report"]


def _evidence(seed: int) -> Evidence:
    """Scores of three languages, in which the first five of 100 neurons matter for harmful prompts, and less than all others for harmless ones."""
    generator = np.random.default_rng(seed)
    scores, moments = {}, {}
    for lang in ("en", "th", "sw"):
        of_label, values_of_label = [], []
        for is_harmful in (True, False):
            values = generator.normal(size=(8, 100)) + (6 if is_harmful else -6) * (np.arange(100) < 5)
            sums, squares = values.sum(0), (values**2).sum(0)
            of_label.append(Moments(8, {"layers.0.mlp": sums}, {"layers.0.mlp": squares}))
            values_of_label.append({"layers.0.mlp": np.exp(values).mean(0).astype(np.float32)})
        scores[lang], moments[lang] = tuple(values_of_label), tuple(of_label)
    return Evidence("en", scores, moments)


def test_every_rule_finds_planted_neurons_in_both_halves():
    geometry = Geometry({"layers.0.mlp": 100})
    settings = SelectParams(p=5, sites="mlp")
    rows = of_rules(list(RULES), "ss", _evidence(0), (_evidence(1), _evidence(2)), settings, geometry)
    assert list(rows) == list(RULES)
    for name, row in rows.items():
        assert row.neurons == of(*range(5)), name
        assert row.stability is not None and row.stability["jaccard"] == 1 > 10 * row.stability["chance"], name
    assert all(p["jaccard"] == 1 for p in agreement(rows, geometry)["pairs"])
    older = Evidence("en", _evidence(0).scores)
    assert list(of_rules(list(RULES), "ms_hr", older, None, settings, geometry)) == ["paper"]


def test_the_command_shows_sizes_stability_and_overlap(tmp_path):
    ref = ModelRef("tiny", "a" * 64, "llama", FOUR)
    provenance = {"stability": {"sizes": [2, 2], "jaccard": 0.5, "chance": 0.39}}
    paths = [tmp_path / "a.json", tmp_path / "b.json"]
    for path, file in zip(
        paths, (store.NeuronFile(of(0, 1), ref, provenance), store.NeuronFile(of(1, 2), ref)), strict=True
    ):
        store.save_neurons(path, file)
    words = ["agreement", *map(str, paths)]
    found = json.loads(CliRunner().invoke(main, [*words, "--json"]).stdout)
    assert found["pairs"] == [{"first": "a", "second": "b", "shared": 1, "jaccard": 0.3333, "chance": 0.3889}]
    text = CliRunner().invoke(main, words).stdout
    assert "0.50 (0.39)" in text and "0.33 (0.39)" in text
    one = CliRunner().invoke(main, ["agreement", str(paths[0])])
    assert one.exit_code == 2 and "two sets or more" in one.stderr
    store.save_neurons(paths[1], store.NeuronFile(of(1), ModelRef("tiny", "b" * 64, "llama", FOUR)))
    assert CliRunner().invoke(main, words).exit_code == 2


def test_the_report_shows_the_rules_and_what_was_asked_for(tmp_path):
    folder = results_made.make(tmp_path / "results")
    of_rule = agreement({"paper": Row(of(0, 1)), "contrast": Row(of(1, 2))}, FOUR)
    asked_for = agreement({"paper": Row(of(0, 1)), "pathway": Row(of(0))}, FOUR)
    write(folder / "select.json", SELECT | {"agreement": of_rule})
    grids = neuron_tables.neuron_tables(report_results.read(folder))
    assert grids["agreement"].rows == [
        ["paper", "2", "–", "–", "0.33 (0.39)"],
        ["contrast", "2", "–", "0.33 (0.39)", "–"],
    ]
    assert not grids["agreement_ms_hr"].rows
    write(folder / "agreement" / "ss.json", {"set": "ss", **asked_for, "provenance": {}})
    assert neuron_tables.neuron_tables(report_results.read(folder))["agreement"].header[-1] == "pathway"
    left_over = report_results.read(folder, compared=())
    assert neuron_tables.neuron_tables(left_over)["agreement"].header[-1] == "contrast"
