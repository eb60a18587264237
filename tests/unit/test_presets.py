"""Presets: what they mean without a model, and one sentence for every mistake, before anything is computed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import TypeAdapter

from ssn_eval.core import params, presets
from ssn_eval.core.errors import ParamsError, SsnError, UnknownNameError
from ssn_eval.core.presets import Preset
from ssn_eval.core.setnames import SetName

SHIPPED = Path(__file__).resolve().parents[2] / "params.yaml"
NHR = ("zh", "th", "bn", "sw", "jv")


def preset(**keys: Any) -> Preset:
    return TypeAdapter(Preset).validate_python({"from": keys.pop("source", "ss"), **keys})


def loaded(tmp_path: Path, targets: Any, **sections: Any) -> params.Params:
    """The shipped settings with other targets."""
    data = yaml.safe_load(SHIPPED.read_text()) | {"targets": targets}
    for name, values in sections.items():
        data[name] = data[name] | values if isinstance(values, dict) else values
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(data))
    return params.load(path)


def test_whose_sets_count():
    assert preset().counted(NHR) == NHR
    assert preset(tier="LR").counted(NHR) == ("bn", "sw", "jv")
    assert preset(tier=["LR", "MR"]).counted(NHR) == ("th", "bn", "sw", "jv")
    assert preset(languages=["jv", "th"]).counted(NHR) == ("th", "jv")
    assert preset(tier="LR").counted(("zh", "th")) == ()


@pytest.mark.parametrize(
    ("k", "n", "needed"), [(1, 5, 1), (3, 5, 3), (0.5, 5, 3), (0.5, 4, 2), (0.01, 5, 1), (0.55, 20, 11), ("all", 5, 5)]
)
def test_how_many_languages_are_needed(k, n, needed):
    assert preset(k=k).needed(n) == needed


@pytest.mark.parametrize("num_layers", [1, 5, 6, 28, 32])
def test_ranges_that_meet_part_the_layers(num_layers):
    edges = (0.0, 0.29, 0.5, 1.0)
    parts = [preset(layers=pair).depth(num_layers) for pair in zip(edges, edges[1:], strict=False)]
    assert [layer for part in parts for layer in part] == list(range(num_layers))
    assert preset().depth(num_layers) == range(num_layers)
    assert preset(layers=[0.5, 1.0]).depth(6) == range(3, 6)


def test_as_it_stands_in_the_file(tmp_path):
    written = {"a": {"from": ["ms_hr", "ss"], "tier": ["LR"], "k": 2, "layers": [0.0, 0.5]}, "b": {"from": "ss"}}
    found = loaded(tmp_path, written).targets
    assert found["a"].to_json() == written["a"] and found["b"].to_json() == {"from": ["ss"]}


def test_the_shipped_presets_load_and_the_named_sets_are_among_them():
    assert set(presets.SETS) < set(params.load(SHIPPED).targets)


@pytest.mark.parametrize("languages", [["en", "zh"], ["en", "zh", "th", "ko"], ["sw", "en"]])
def test_the_shipped_presets_let_other_languages_pass(tmp_path, languages):
    data = yaml.safe_load(SHIPPED.read_text())
    assert loaded(tmp_path, data["targets"], languages=languages).targets


@pytest.mark.parametrize(
    ("change", "kind", "said"),
    [
        ({"from": "sss"}, UnknownNameError, "targets.mine.from 'sss'. Did you mean ss"),
        ({"from": "ss", "tier": "XR"}, UnknownNameError, "targets.mine.tier 'XR'"),
        ({"from": "ss", "languages": ["zz"]}, UnknownNameError, "language 'zz'"),
        ({"from": "ss", "languages": ["fr"]}, ParamsError, "fr, but the languages beside HR are zh, th"),
        ({"from": "ss", "languages": ["en"]}, ParamsError, "en, but the languages beside HR are zh, th"),
        ({"from": "ss", "sites": "atention"}, UnknownNameError, "Did you mean attention"),
        ({"from": "ss", "k": 6}, ParamsError, "k is 6, but it counts only 5 languages"),
        ({"from": "ss", "tier": "MR", "k": 2}, ParamsError, r"k is 2, but it counts only 1 language \(th\)"),
        ({"from": "ss", "k": 0}, ParamsError, "k is 0"),
        ({"from": "ss", "k": 1.5}, ParamsError, "k is 1.5"),
        ({"from": "ss", "k": "most"}, ParamsError, "k is most"),
        ({"from": "ss", "layers": [0.5, 0.5]}, ParamsError, r"layers is \[0.5, 0.5\]"),
        ({"from": "ss", "layers": [12, 24]}, ParamsError, "shares of depth"),
        ({"from": "ss", "layers": [float("nan"), 1]}, ParamsError, "shares of depth"),
        ({"from": "ms_hr", "tier": "LR"}, ParamsError, "ms_hr, which is one set"),
        ({"from": "ss", "tier": "LR", "languages": ["bn"]}, ParamsError, "both tier and languages"),
        ({"from": []}, ParamsError, "names no set"),
        ({"from": "ss", "tiers": "LR"}, ParamsError, "Did you mean targets.mine.tier"),
        ({"fron": "ss"}, ParamsError, "Did you mean targets.mine.from"),
        ({"from": "ss", "layers": "late"}, ParamsError, "targets.mine.layers is 'late'"),
    ],
)
def test_mistakes_in_a_preset(tmp_path, change, kind, said):
    with pytest.raises(kind, match=said) as caught:
        loaded(tmp_path, {"mine": change})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["base", "full", "ssn", "random", "random_3", "a.b", "a/b", "", "0"])
def test_names_that_would_hide_something_else(tmp_path, name):
    with pytest.raises(ParamsError, match="cannot be called"):
        loaded(tmp_path, {name: {"from": "ss"}})


@pytest.mark.parametrize("name", presets.SETS)
def test_a_named_set_keeps_its_meaning(tmp_path, name):
    assert loaded(tmp_path, {name: {"from": name}}).targets[name].source == (name,)
    with pytest.raises(ParamsError, match=f"must stay {{from: {name}}}"):
        loaded(tmp_path, {name: {"from": name, "layers": [0.5, 1.0]}})


def test_names_that_validate_and_train_may_use(tmp_path):
    targets = {"mine": {"from": "ss", "tier": "LR"}}
    sets = ["ss", "random_7", "mine", "mine.random_2", "ss.random_1", "ms/th"]
    methods = ["ssn", "random", "full", "ss", "mine", "mine.random_0"]
    found = loaded(tmp_path, targets, validate={"sets": sets}, train={"methods": methods})
    assert found.validate.sets == tuple(sets) and found.train.methods == tuple(methods)
    assert SetName.parse("mine.random_2") == SetName("mine", 2) and SetName.parse("random_2") == SetName("", 2)
    assert SetName.parse("random_2").of == "ss" and not SetName.parse("mine.random_x").is_control
    assert [str(SetName.parse(name)) for name in sets] == sets
    assert [found.method(m).set for m in ("ssn", "random", "ms_hr", "mine")] == ["ss", "random_0", "ms_hr", "mine"]


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({"validate": {"sets": ["min"]}}, "set 'min'. Did you mean mine"),
        ({"validate": {"sets": ["other.random_0"]}}, "set 'other.random_0'"),
        ({"validate": {"sets": ["ms/zz"]}}, "language 'zz'"),
        ({"train": {"methods": ["snn"]}}, "training method 'snn'. Did you mean ssn"),
        ({"train": {"methods": ["ssn.random_0"]}}, "training method 'ssn.random_0'"),
        ({"languages": ["en", "zh"], "train": {"methods": ["mine"]}}, "tier LR, but the languages beside HR are zh"),
        ({"languages": ["en", "zh"], "validate": {"sets": ["mine.random_1"]}}, "tier LR"),
    ],
)
def test_what_is_asked_for_has_to_exist(tmp_path, section, said):
    with pytest.raises(SsnError, match=said):
        loaded(tmp_path, {"mine": {"from": "ss", "tier": "LR"}}, **section)
