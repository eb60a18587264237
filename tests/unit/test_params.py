"""Settings: the shipped file is valid, and every mistake gets a sentence."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from ssn_eval.core import params
from ssn_eval.core.errors import MissingInputError, ParamsError, UnknownNameError
from ssn_eval.core.methods import METHODS
from ssn_eval.core.presets import PRESETS
from ssn_eval.core.sweep import Scenario

SHIPPED = Path(__file__).resolve().parents[2] / "params.yaml"


def edited(tmp_path, **changes) -> Path:
    data = yaml.safe_load(SHIPPED.read_text())
    for key, value in changes.items():
        section, _, name = key.partition("__")
        if name:
            data[section][name] = value
        else:
            data[section] = value
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(data))
    return path


def test_the_shipped_file_equals_the_documented_defaults():
    found = params.load(SHIPPED)
    assert (
        found.train == params.TrainParams()
        and found.select == params.SelectParams()
        and found.score == params.ScoreParams(prompts=64)  # the demo is short; by default every prompt is used
    )
    assert (
        found.validate == params.ValidateParams()
        and found.evaluate == params.EvaluateParams()
        and found.prompts == params.PromptParams()
    )
    own = params.FrontierParams(
        scenarios={**params.FrontierParams().scenarios, "leave_out_jv": Scenario(leave_out="jv")}
    )
    assert found.frontier == own and found.methods == found.table == dict(METHODS)
    assert set(yaml.safe_load(SHIPPED.read_text())["targets"]) == set(PRESETS) and found.targets == dict(PRESETS)
    assert found.nhr == ("zh", "th", "bn", "sw", "jv")
    assert set(found.models) == {
        "organism",
        "smollm2",
        "gemma3_270m",
        "gemma_en",
        "qwen_coder_05b",
        "qwen_coder_15b",
        "qwen3_8b",
        "llama31_8b",
        "gemma2_9b",
    }


@pytest.mark.parametrize(
    ("change", "kind", "said"),
    [
        ({"modle": "x"}, ParamsError, "Did you mean model"),
        ({"train__stpes": 3}, ParamsError, "train.steps"),
        ({"train__steps": "many"}, ParamsError, "train.steps is 'many'"),
        ({"languages": ["en", "zz"]}, UnknownNameError, "'zz'"),
        ({"languages": ["zh", "th"]}, ParamsError, "hr=en"),
        ({"languages": ["en"]}, ParamsError, "second language"),
        ({"model": "qwen3"}, UnknownNameError, "qwen3_8b"),
        ({"score__sites": "atention"}, UnknownNameError, "attention"),
        ({"select__p": 0}, ParamsError, "percentage"),
        ({"train__lr": float("nan")}, ParamsError, "train.lr must be a finite number"),
        ({"train__leave_out": ["xx"]}, UnknownNameError, "'xx'"),
        ({"train__leave_out": ["en", "zh", "th", "bn", "sw", "jv"]}, ParamsError, "leaves out every language"),
        ({"methods": {"mine": {"loss": "dpo"}}}, ParamsError, "methods.mine trains neurons but names no set"),
        ({"methods": {"mine": {"set": "ss", "weights": "full"}}}, ParamsError, "does not use"),
        ({"methods": {"mine": {"set": "sss"}}}, UnknownNameError, "set 'sss'"),
        ({"methods": {"mine": {"set": "ss", "los": "dpo"}}}, ParamsError, "Did you mean methods.mine.loss"),
        ({"methods": {"mine": {"weights": "full", "beta": float("inf")}}}, ParamsError, "beta must be a finite"),
        ({"methods": {"ss_late": {"set": "ss"}}}, ParamsError, "both a preset"),
        ({"frontier__lr_factors": [float("nan")]}, ParamsError, "finite and above 0"),
        ({"frontier__steps": [8, 4]}, ParamsError, "rising"),
        ({"frontier__scenarios": {"x": {"pairs": 0}}}, ParamsError, "at least 1"),
        ({"frontier__methods": ["snn"]}, UnknownNameError, "Did you mean ssn"),
        ({"frontier__seeds": [1, 1]}, ParamsError, "different whole numbers"),
        ({"frontier__matched": [0]}, ParamsError, "shares above 0"),
    ],
)
def test_mistakes(tmp_path, change, kind, said):
    with pytest.raises(kind, match=said) as caught:
        params.load(edited(tmp_path, **change))
    assert "\n" not in str(caught.value)


def test_missing_and_broken_files(tmp_path):
    with pytest.raises(MissingInputError):
        params.load(tmp_path / "none.yaml")
    (tmp_path / "params.yaml").write_text("a: [1")
    with pytest.raises(ParamsError, match="not valid YAML"):
        params.load(tmp_path / "params.yaml")
    (tmp_path / "params.yaml").write_text("- a")
    with pytest.raises(ParamsError, match="no settings"):
        params.load(tmp_path / "params.yaml")
