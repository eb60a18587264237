"""`ssn harden`: the dose is chosen within the limits on one half of the prompts, tested on the other, and written as told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result
from test_templates_in_pipeline import LLAMA3, prepare

from ssn_eval.cli import main
from ssn_eval.core import store
from ssn_eval.core.errors import EmptySetError
from ssn_eval.core.neurons import NeuronSet
from ssn_eval.core.settings import HardenParams
from ssn_eval.core.store import NeuronFile
from ssn_eval.interventions.hooks import intervene
from ssn_eval.interventions.ops import parse_op
from ssn_eval.models import loading
from ssn_eval.models.loading import ModelSpec
from ssn_eval.prompts.prompt import Prompt
from ssn_eval.stages import hardening
from ssn_eval.stages.hardening import Rates

CHOSEN = NeuronSet.of([(layer, site, i) for layer in range(2) for site in ("mlp", "o_proj") for i in range(0, 32, 3)])
IDS = torch.tensor([[5, 6, 7, 8]])


@pytest.mark.parametrize(
    ("by_dose", "chosen"),
    [
        ({1.5: Rates(0.6, 0.1, 0.01), 2: Rates(0.9, 0.1, 0.05)}, 2),
        ({1.5: Rates(0.6, 0.1, 0.01), 2: Rates(0.9, 0.16, 0.05)}, 1.5),  # six points more harmless prompts refused
        ({1.5: Rates(0.6, 0.1, 0.01), 2: Rates(0.9, 0.1, 0.3)}, 1.5),  # too far from the base
        ({1.5: Rates(0.4, 0.1, 0.01)}, None),  # no gain
        ({1.5: Rates(0.9, 0.5, 0.01), 2: Rates(0.9, 0.1, 0.9)}, None),
        ({1.5: Rates(0.7, 0.1, 0.01), 2: Rates(0.7, 0.1, 0.01)}, 1.5),
    ],
)
def test_the_dose_with_the_highest_refusal_within_the_limits(by_dose: dict[float, Rates], chosen: float | None) -> None:
    limits = HardenParams(over_refusal=0.05, kl=0.2)
    dose, trials = hardening.choose(Rates(0.5, 0.1, 0.0), by_dose, limits)
    assert dose == chosen and [trial.dose for trial in trials] == sorted(by_dose)


def test_a_prompt_is_on_one_side_in_every_language() -> None:
    prompts = [
        Prompt(str(i), lang, label, f"{lang} {i}")
        for label in ("harmful", "harmless")
        for lang in ("en", "zh")
        for i in range(9)
    ]
    one, other = hardening.halves(prompts, seed=3)
    assert len(one) == 16 and len(other) == 20
    assert not {(p.label, p.id) for p in one} & {(p.label, p.id) for p in other}
    assert hardening.halves(prompts, seed=3) == (one, other) != hardening.halves(prompts, seed=4)
    with pytest.raises(EmptySetError, match="at least two harmful prompts"):
        hardening.halves(prompts[:1], seed=0)


def test_the_change_is_paired_and_weighs_languages_alike() -> None:
    def counts(verdicts: dict[str, dict[str, int]]) -> dict[str, Any]:
        by_lang = {
            lang: {"refusal": {"successes": sum(v.values()), "total": len(v)}, "harmless_refusal": None}
            for lang, v in verdicts.items()
        }
        return {"by_lang": by_lang, "verdicts": verdicts}

    before = counts({"en": {"a": 0, "b": 1, "c": 0}, "zh": {"a": 0}})
    after = counts({"en": {"a": 1, "b": 1, "c": 0}, "zh": {"a": 1}})
    found = hardening.summary(before, after, ["en", "zh"])
    assert found["languages"]["en"]["difference"] == pytest.approx(1 / 3)
    assert found["all"]["difference"] == pytest.approx((1 / 3 + 1) / 2)
    assert found["all"]["low"] < found["all"]["difference"] <= found["all"]["high"]
    assert found["before"]["refusal"] == pytest.approx(1 / 6)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tiny model in `weights`, prompts of two languages, and a neuron set."""
    monkeypatch.chdir(tmp_path)
    prepare(tmp_path, LLAMA3, {}, None)
    ref = loading.load(ModelSpec("weights", dtype="float32")).ref
    store.save_neurons(Path("ss.json"), NeuronFile(CHOSEN, ref, {"set": "ss"}))
    return tmp_path


def ssn(*words: str) -> Result:
    options = "--dtype float32 --harmful harmful.jsonl --harmless harmless.jsonl --heldout 0.7 --max-new-tokens 2 --batch-size 8"
    named = "--model weights --neurons ss.json --languages en,zh --ability 2"
    return CliRunner().invoke(main, ["harden", *named.split(), *options.split(), *words])


def test_no_dose_within_the_limits_writes_nothing(project: Path) -> None:
    done = ssn("--out", "out", "--json")
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["dose"] is None and found["out"] is None and len(found["trials"]) == 3
    assert not Path("out").exists()
    assert "No dose raised refusal within the limits" in ssn("--out", "out").stdout


@pytest.mark.parametrize("apart", [False, True])
def test_the_chosen_dose_is_tested_on_other_prompts_and_written(
    project: Path, monkeypatch: pytest.MonkeyPatch, apart: bool
) -> None:
    """The choice is made by hand here: an untrained model never refuses."""
    monkeypatch.setattr(hardening, "choose", lambda base, by_dose, limits: (8.0, []))
    done = ssn("--out", "out", "--doses", "1.5,8", "--controls", "2", "--json", *(["--keep-apart"] if apart else []))
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["dose"] == 8 and len(found["controls"]) == 2 and set(found["test"]["languages"]) == {"en", "zh"}
    assert json.loads(Path("out/harden.json").read_text())["test"] == found["test"]
    assert found["test"]["after"]["kl"] > 0 and found["provenance"]["limits"]["doses"] == [1.5, 8.0]
    assert not Path(".work-out").exists()
    base = loading.load(ModelSpec("weights", dtype="float32")).model
    with torch.no_grad(), intervene(base, CHOSEN, parse_op("scale:8")):
        expected = base(IDS).logits
    if apart:
        assert store.load_neurons(Path("out/neurons.json")).neurons == CHOSEN
        assert not Path("out/config.json").exists()
    else:
        with torch.no_grad():
            hardened = loading.load(ModelSpec("out", dtype="float32")).model(IDS).logits
        assert torch.allclose(hardened, expected, atol=1e-4)


def test_training_is_measured_beside_its_random_control(project: Path) -> None:
    done = ssn("--out", "out", "--by", "train", "--steps", "8", "--examples", "2", "--replay", "0", "--json")
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)
    assert Path("out/adapter_config.json").is_file() and len(found["controls"]) == 1
    assert found["test"]["after"]["kl"] != found["controls"][0]["after"]["kl"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--out", "weights"], "weights exists already"),
        (["--out", "o", "--doses", "0"], "above 0"),
        (["--out", "o", "--doses", "a"], "doses"),
        (["--out", "o", "--languages", "en,xx"], "xx"),
        (["--out", "o", "--languages", "en,th"], "no harmful prompts in th"),
        (["--out", "o", "--neurons", "none.json"], "none.json"),
    ],
)
def test_mistakes_are_one_sentence(project: Path, words: list[str], said: str) -> None:
    done = ssn(*words)
    assert done.exit_code == 2 and said in done.stderr and "Traceback" not in done.stderr, done.stderr
    assert not Path("o").exists()


def test_a_set_of_another_model_is_refused_before_anything_is_loaded(project: Path) -> None:
    import models_on_disk

    models_on_disk.llama(Path("other"), seed=5)
    done = ssn("--model", "other", "--out", "o")
    assert done.exit_code == 2 and "identify neurons on this model" in done.stderr
