"""`ssn_hf` inside lm_eval: interventions and adapters take effect, and every mistake ends with one sentence and exit code 2."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner

from ssn_eval.cli import main
from ssn_eval.core import store
from ssn_eval.core.errors import (
    EmptySetError,
    FormatError,
    MismatchError,
    MissingInputError,
    ParamsError,
    UnknownNameError,
)
from ssn_eval.core.neurons import NeuronSet
from ssn_eval.core.store import NeuronFile
from ssn_eval.interventions import measuring
from ssn_eval.interventions import reference as references
from ssn_eval.interventions.hooks import intervene, intervene_all
from ssn_eval.interventions.ops import MEAN, SUPPRESS, Intervention, Layers, Op
from ssn_eval.models import loading
from ssn_eval.training.adapters.folder import save_adapter
from ssn_eval.training.adapters.neuron_lora import build

CHOSEN = NeuronSet.of([(0, "q_proj", 1), (1, "mlp", 3), (2, "o_proj", 5)])
MORE = NeuronSet.of([(0, "mlp", 7), (3, "v_proj", 2)])
IDS = torch.tensor([[5, 6, 7, 8]])


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Two organisms, untrained, saved as ordinary folders; a neuron set and an adapter of the first."""
    from ssn_eval.organism import lexicon, tokenizer
    from ssn_eval.organism.settings import OrganismSettings
    from ssn_eval.organism.training import build_model

    out = tmp_path_factory.mktemp("ssn_hf")
    tok = tokenizer.build(lexicon.load())
    for name, seed in (("one", 0), ("two", 1)):
        torch.manual_seed(seed)
        model = build_model(OrganismSettings(seed=seed), tok)
        model.save_pretrained(out / name)
        tok.save_pretrained(out / name)
    loaded = loading.load(loading.ModelSpec(str(out / "one")))
    store.save_neurons(out / "set.json", NeuronFile(CHOSEN, loaded.ref))
    tuned = build(loaded.model, CHOSEN)
    with torch.no_grad():
        for name, p in tuned.named_parameters():
            if p.requires_grad:
                p.normal_(std=0.1, generator=torch.Generator().manual_seed(len(name)))
    save_adapter(tuned, out / "adapter", loaded.ref, {})
    store.save_neurons(out / "more.json", NeuronFile(MORE, loaded.ref))
    store.save_neurons(out / "empty.json", NeuronFile(NeuronSet(frozenset()), loaded.ref))
    fresh = loading.load(loading.ModelSpec(str(out / "one")))
    found = measuring.measure(fresh.model, [[5, 6, 7], [8, 9, 10, 11]], neurons=CHOSEN | MORE)
    references.save(out / "ref.safetensors", references.Reference(found, fresh.ref))
    words = ["merge", str(out / "adapter"), "--model", str(out / "one"), "--out", str(out / "merged")]
    assert CliRunner().invoke(main, words).exit_code == 0
    words = ["export", str(out / "merged"), "--format", "delta", "--model", str(out / "one")]
    assert CliRunner().invoke(main, [*words, "--out", str(out / "delta.safetensors")]).exit_code == 0
    return out


def lm(folder, name="one", **arguments):
    from ssn_eval.harness.model import SsnHFLM

    return SsnHFLM(str(folder / name), device="cpu", **arguments)


def test_intervention_equals_the_context_manager(folder):
    plain = lm(folder)
    with torch.no_grad(), intervene(plain.model, CHOSEN, SUPPRESS):
        expected = plain.model(IDS).logits
    changed = lm(folder, neurons=str(folder / "set.json"), op="suppress")
    with torch.no_grad():
        assert torch.equal(changed.model(IDS).logits, expected)
        assert not torch.equal(plain.model(IDS).logits, expected)
    info = changed.get_model_info()["ssn_eval"]
    assert info["op"] == "suppress" and info["interventions"][0]["neurons"] == 3 and info["model"]["weights_sha256"]


def test_our_adapter_argument_equals_stock_peft(folder):
    from lm_eval.models.huggingface import HFLM

    hf: Any = HFLM  # lm_eval's registration hides the class's type
    stock = hf(str(folder / "one"), peft=str(folder / "adapter"), device="cpu")
    with torch.no_grad():
        expected = stock.model(IDS).logits
        assert torch.equal(lm(folder, adapter=str(folder / "adapter")).model(IDS).logits, expected)
        assert not torch.equal(lm(folder).model(IDS).logits, expected)


@pytest.mark.parametrize(
    ("name", "arguments", "kind", "said"),
    [
        ("two", {"neurons": "set.json"}, MismatchError, "same shape, another model"),
        ("two", {"adapter": "adapter"}, MismatchError, "same shape, another model"),
        ("one", {"neurons": "none.json"}, MissingInputError, "none.json"),
        ("one", {"adapter": "none"}, MissingInputError, "adapter_config"),
        ("one", {"neurons": "set.json", "op": "supress"}, UnknownNameError, "suppress"),
        ("one", {"op": "suppress"}, ParamsError, "neurons=FILE"),
        ("three", {}, MissingInputError, "three"),
        ("one", {"neurons": "empty.json"}, EmptySetError, "is empty"),
        ("one", {"neurons": "set.json", "op": "scale:inf"}, ParamsError, "finite number"),
        ("one", {"neurons": "set.json", "op": "set:1.5"}, ParamsError, "quantile from 0 to 1"),
        ("one", {"neurons": "set.json", "op": "mean"}, ParamsError, "reference=FILE"),
        ("one", {"neurons": "set.json", "reference": "ref.safetensors"}, ParamsError, "goes with the ops mean"),
        ("one", {"neurons": "set.json", "layers": "3-1"}, ParamsError, "no range of layers"),
        ("one", {"neurons": "set.json", "layers": "0-99"}, ParamsError, "the model has"),
        ("one", {"neurons": "set.json", "positions": "promt"}, UnknownNameError, "prompt"),
        ("one", {"layers": "0"}, ParamsError, "needs a neuron set"),
        ("two", {"checkpoint": "merged"}, MismatchError, "same shape, another model"),
        ("two", {"checkpoint": "delta.safetensors"}, MismatchError, "same shape, another model"),
        ("one", {"checkpoint": "two"}, MismatchError, "pretrained="),
        ("one", {"checkpoint": "merged", "adapter": "adapter"}, ParamsError, "give one of them"),
        ("one", {"checkpoint": "set.json"}, FormatError, "set.json"),
    ],
)
def test_mistakes(folder, name, arguments, kind, said, capsys):
    words = ("op", "layers", "positions")
    arguments = {k: v if k in words else str(folder / v) for k, v in arguments.items()}
    with pytest.raises(SystemExit) as caught:
        lm(folder, name, **arguments)
    assert caught.value.code == 2
    printed = capsys.readouterr().err.strip().splitlines()[-1]
    assert said in printed and printed.startswith("ssn_eval: ")
    assert kind.__name__  # the kind is what a reader of this table expects; the exit hides it from the command line


def test_several_sets_layers_and_positions_equal_the_context_manager(folder):
    sets = f"{folder / 'set.json'}+{folder / 'more.json'}"
    changed = lm(folder, neurons=sets, op="scale:3+mean", layers="0-1+0-5", reference=str(folder / "ref.safetensors"))
    plain, reference = lm(folder), references.load(folder / "ref.safetensors")
    ways = [Intervention(CHOSEN, Op(3.0), Layers(0, 1)), Intervention(MORE, MEAN)]
    with torch.no_grad(), intervene_all(plain.model, ways, reference):
        assert torch.equal(changed.model(IDS).logits, plain.model(IDS).logits)
    info = changed.get_model_info()["ssn_eval"]
    assert info["op"] == "scale:3+mean" and [each["neurons"] for each in info["interventions"]] == [2, 2]


def test_prompt_and_generated_tokens_through_lm_eval(folder):
    """`generate_until` with positions=; likelihoods have no such thing and are refused."""
    from lm_eval.api.instance import Instance

    def request(kind: str, *arguments: Any) -> list[Any]:
        return [Instance(kind, {}, arguments, 0)]  # type: ignore[arg-type]

    until = {"until": [], "max_gen_toks": 6, "do_sample": False}
    asked = request("generate_until", "how do i open the door", until)
    replies = {}
    for positions in ("all", "prompt", "generated"):
        one = lm(folder, neurons=str(folder / "set.json"), op="scale:40", positions=positions)
        (replies[positions],) = one.generate_until(asked, disable_tqdm=True)
        ids = one.tokenizer("how do i open the door", return_tensors="pt").input_ids
        plain = lm(folder)
        with intervene(plain.model, CHOSEN, Op(40.0), positions=positions):
            (expected,) = plain.generate_until(asked, disable_tqdm=True)
        assert replies[positions] == expected and ids.numel()
        if positions != "all":
            with pytest.raises(SystemExit):
                one.loglikelihood(request("loglikelihood", "a", " b"))
    assert len(set(replies.values())) > 1


def test_a_checkpoint_a_delta_and_the_adapter_are_one_model(folder):
    with torch.no_grad():
        expected = lm(folder, adapter=str(folder / "adapter")).model(IDS).logits
        for name in ("merged", "delta.safetensors"):
            found = lm(folder, checkpoint=str(folder / name))
            torch.testing.assert_close(found.model(IDS).logits, expected, atol=1e-5, rtol=1e-5)
            assert found.get_model_info()["ssn_eval"]["checkpoint"] == name and found.condition()
        assert torch.equal(
            lm(folder, checkpoint=str(folder / "merged")).model(IDS).logits,
            lm(folder, checkpoint=str(folder / "delta.safetensors")).model(IDS).logits,
        )


def test_a_set_of_the_base_works_on_its_checkpoint(folder):
    one = lm(folder, checkpoint=str(folder / "merged"), neurons=str(folder / "set.json"))
    two = lm(folder, "merged", neurons=str(folder / "set.json"))
    with torch.no_grad():
        assert torch.equal(one.model(IDS).logits, two.model(IDS).logits)


def test_other_model_is_allowed_when_meant(folder):
    lm(folder, "two", neurons=str(folder / "set.json"), other_model=True)


def test_no_adapter_is_asked_for_by_the_word_of_the_command_line(folder):
    """lm_eval hands `--model_args adapter=none` over as text."""
    with torch.no_grad():
        assert torch.equal(lm(folder, adapter="none").model(IDS).logits, lm(folder).model(IDS).logits)


def test_a_response_cache_is_not_shared_between_conditions(folder, tmp_path):
    from lm_eval.api.model import CachingLM

    cache = str(tmp_path / "cache.db")
    CachingLM(lm(folder), cache)
    CachingLM(lm(folder), cache)
    with pytest.raises(SystemExit):
        CachingLM(lm(folder, neurons=str(folder / "set.json")), cache)
    CachingLM(lm(folder, neurons=str(folder / "set.json")), str(tmp_path / "other.db"))
    with pytest.raises(SystemExit):
        CachingLM(lm(folder, neurons=str(folder / "set.json"), op="scale:2"), str(tmp_path / "other.db"))


def test_outside_a_pipeline_the_literal_command_says_what_to_pass(tmp_path):
    code = "from ssn_eval.harness.model import SsnHFLM; SsnHFLM()"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )
    assert done.returncode == 2 and "pretrained=<hub id or folder>" in done.stderr and "Traceback" not in done.stderr
