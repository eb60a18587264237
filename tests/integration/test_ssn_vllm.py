"""`ssn_vllm` without vLLM: its arguments, what it gives to the engine, and what it refuses. tests/with_vllm runs vLLM itself."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import models_on_disk
import pytest
import torch
import vllm_stand_in
from lm_eval.api.instance import Instance
from vllm_stand_in import ENGINES

from ssn_eval.core import cache, store
from ssn_eval.core.errors import ParamsError, SsnError
from ssn_eval.core.neurons import NeuronSet
from ssn_eval.core.settings import EvaluateParams
from ssn_eval.core.store import NeuronFile
from ssn_eval.harness import bench
from ssn_eval.harness.answering import Served, answerer
from ssn_eval.harness.model import SsnHFLM
from ssn_eval.interventions.hooks import intervene
from ssn_eval.interventions.ops import SUPPRESS
from ssn_eval.models import loading, residency
from ssn_eval.training.adapters.folder import load_adapter, save_adapter
from ssn_eval.training.adapters.neuron_lora import build

CHOSEN = NeuronSet.of([(0, "q_proj", 1), (1, "mlp", 3), (1, "o_proj", 5), (0, "v_proj", 2)])
IDS = torch.tensor([[5, 6, 7, 8]])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny float32 model, a set and an adapter of it, and the same model as if its weights were quantised."""
    out = tmp_path_factory.mktemp("served")
    for seed, name in enumerate(("model", "other")):
        models_on_disk.llama(out / name, seed)
    loaded = loading.load(loading.ModelSpec(str(out / "model")))
    store.save_neurons(out / "set.json", NeuronFile(CHOSEN, loaded.ref))
    tuned = build(loaded.model, CHOSEN)
    with torch.no_grad():
        for name, parameter in tuned.named_parameters():
            if parameter.requires_grad:
                parameter.normal_(std=0.1, generator=torch.Generator().manual_seed(len(name)))
    save_adapter(tuned, out / "adapter", loaded.ref, {})
    return out


@pytest.fixture(scope="module")
def served() -> Iterator[Any]:
    with vllm_stand_in.installed() as found:
        yield found


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSN_CACHE_DIR", str(tmp_path / "cache"))


def given(folder: Path, **changes: Any) -> dict[str, Any]:
    return {"pretrained": str(folder / "model"), "batch_size": "auto", **changes}


def test_the_engine_gets_weights_with_the_intervention_written_into_them(served: Any, folder: Path) -> None:
    condition = {"neurons": str(folder / "set.json"), "op": "suppress"}
    lm = served(**given(folder, **condition, tensor_parallel_size=2, gpu_memory_utilization=0.5))
    arguments = ENGINES[-1].arguments
    (entry,) = cache.entries()
    assert Path(arguments["model"]) == cache.folder() / entry.name and entry.name.startswith("model-suppress-")
    assert (arguments["tensor_parallel_size"], arguments["gpu_memory_utilization"]) == (2, 0.5)
    assert arguments["dtype"] == "float32", "vLLM makes bfloat16 of float32 if it is not told"
    plain = loading.load(loading.ModelSpec(str(folder / "model"))).model
    with torch.no_grad(), intervene(plain, CHOSEN, SUPPRESS):
        assert torch.allclose(ENGINES[-1].transformers(IDS).logits, plain(IDS).logits, atol=1e-5)
    hf: Any = SsnHFLM(str(folder / "model"), device="cpu", **condition)
    record = lm.get_model_info()["ssn_eval"]
    engine = record.pop("engine")
    assert record == hf.get_model_info()["ssn_eval"] and lm.condition() == hf.condition()
    assert engine["name"] == "vllm" and engine["settings"] == {"tensor_parallel_size": 2} and json.dumps(engine)
    turns = [{"role": "user", "content": "a question"}]
    assert lm.apply_chat_template(turns) == hf.apply_chat_template(turns)
    made = (cache.folder() / entry.name / "model.safetensors").stat().st_mtime_ns
    served(**given(folder, **condition))
    assert (cache.folder() / entry.name / "model.safetensors").stat().st_mtime_ns == made, "written once"


def test_an_adapter_stays_beside_the_model_or_is_merged(served: Any, folder: Path) -> None:
    lm = served(**given(folder, adapter=str(folder / "adapter")))
    arguments = ENGINES[-1].arguments
    assert arguments["model"] == str(folder / "model") and arguments["enable_lora"] is True
    assert arguments["max_lora_rank"] == 8 and Path(lm.lora_request[2]).parent == cache.folder()
    loaded = loading.load(loading.ModelSpec(str(folder / "model")))
    tuned: Any = load_adapter(loaded.model, folder / "adapter", loaded.ref)
    for changes in ({"merge": True}, {"max_lora_rank": 1}):
        merged = served(**given(folder, adapter=str(folder / "adapter"), **changes))
        assert merged.lora_request is None and merged.condition() == lm.condition()
        with torch.no_grad():
            assert torch.allclose(ENGINES[-1].transformers(IDS).logits, tuned(IDS).logits, atol=1e-5)


def test_one_engine_serves_the_conditions_of_a_bench_and_leaves_for_a_judge(served: Any, folder: Path) -> None:
    lm = served.from_spec(loading.ModelSpec(str(folder / "model")), {"max_model_len": 64})
    asked = [Instance("generate_until", {}, ("a b c", {"until": [], "max_gen_toks": 6, "do_sample": False}), 0)]
    plain, started = lm.generate_until(asked), len(ENGINES)
    with lm.intervened(CHOSEN, SUPPRESS):
        changed = lm.generate_until(asked)
        assert lm.condition() and lm.get_model_info()["ssn_eval"]["interventions"][0]["neurons"] == 4
    with lm.trained(folder / "adapter"):
        lm.generate_until(asked)
    assert lm.generate_until(asked) == plain and changed != plain and not lm.condition()
    assert len(ENGINES) == started and len(ENGINES[-1].reloaded) == 3 and not cache.entries()
    assert asked[0].finished is not None  # type: ignore[attr-defined]
    residency.enter(Judge())
    assert lm.model is None
    assert lm.generate_until(asked) == plain and len(ENGINES) == started + 1


class Judge:
    """Something else that wants the device."""

    def leave(self) -> None:
        """It has nothing on the device."""


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"neurons": "set.json", "positions": "prompt"}, "use --model ssn_hf"),
        ({"neurons": "set.json", "op": "supress"}, "Did you mean suppress"),
        ({"pretrained": "other", "neurons": "set.json"}, "same shape, another model"),
        ({"pretrained": "other", "adapter": "adapter"}, "same shape, another model"),
        ({"adapter": "adapter", "checkpoint": "model"}, "model that it was made from|made from"),
        ({"lora_local_path": "adapter", "neurons": "set.json"}, "name the adapter with adapter="),
        ({"lora_local_path": "adapter", "adapter": "adapter"}, "give one of them"),
        ({"pretrained": "none"}, "none"),
    ],
    ids=str,
)
def test_mistakes(served: Any, folder: Path, changes: dict[str, str], said: str, capsys: Any) -> None:
    words = ("op", "positions")
    arguments = given(folder, **{k: v if k in words else str(folder / v) for k, v in changes.items()})
    with pytest.raises(SystemExit) as caught:
        served(**arguments)
    printed = capsys.readouterr().err.strip().splitlines()[-1]
    assert caught.value.code == 2 and printed.startswith("ssn_eval: ")
    assert any(part in printed for part in said.split("|")), printed


def test_constants_without_a_bias_and_quantised_weights_are_left_to_ssn_hf(
    served: Any, folder: Path, tmp_path: Path, capsys: Any
) -> None:
    from ssn_eval.interventions import measuring
    from ssn_eval.interventions import reference as references

    loaded = loading.load(loading.ModelSpec(str(folder / "model")))
    found = measuring.measure(loaded.model, [[5, 6, 7]], neurons=CHOSEN)
    references.save(tmp_path / "ref.safetensors", references.Reference(found, loaded.ref))
    mean = {"neurons": str(folder / "set.json"), "op": "mean", "reference": str(tmp_path / "ref.safetensors")}
    with pytest.raises(SsnError, match=r"has no bias.*use --model ssn_hf\."):
        served(**given(folder, **mean))
    assert not cache.entries(), "nothing is half written"
    config = json.loads((folder / "model/config.json").read_text())
    quantised = tmp_path / "quantised"
    quantised.mkdir()
    for path in (folder / "model").iterdir():
        (quantised / path.name).write_bytes(path.read_bytes())
    (quantised / "config.json").write_text(json.dumps({**config, "quantization_config": {"quant_method": "awq"}}))
    with pytest.raises(SsnError, match=r"quantised \(awq\).*use --model ssn_hf\."):
        served(**given(folder, pretrained=str(quantised), neurons=str(folder / "set.json")))
    capsys.readouterr()


def test_an_engine_that_fails_is_one_sentence(served: Any, folder: Path, monkeypatch: Any, capsys: Any) -> None:
    lm = served(**given(folder))

    def dead(*_: Any, **__: Any) -> None:
        raise RuntimeError("EngineCore encountered an issue.\nSee the stack trace.")

    monkeypatch.setattr(vllm_stand_in.Engine, "generate", dead)
    asked = [Instance("generate_until", {}, ("a b c", {"until": [], "max_gen_toks": 6}), 0)]
    with pytest.raises(SystemExit) as caught:
        lm.generate_until(asked)
    printed = capsys.readouterr().err.strip().splitlines()[-1]
    assert (
        caught.value.code == 2 and "failed while answering (RuntimeError: EngineCore encountered an issue.)" in printed
    )


def test_a_response_cache_belongs_to_one_condition(served: Any, folder: Path, capsys: Any) -> None:
    class Hook:
        dbdict: dict[str, Any] = {}

    served(**given(folder)).set_cache_hook(Hook())
    with pytest.raises(SystemExit):
        served(**given(folder, neurons=str(folder / "set.json"))).set_cache_hook(Hook())
    assert "another model, dtype or intervention" in capsys.readouterr().err


@pytest.mark.parametrize("argument", [{"op": "suppress"}, {"layers": "0"}, {"positions": "all"}, {"reference": "x"}])
def test_both_doors_take_the_arguments_of_ours(
    served: Any, folder: Path, argument: dict[str, str], capsys: Any
) -> None:
    for door in (SsnHFLM, served):
        with pytest.raises(SystemExit):
            door(str(folder / "model"), **argument)
        assert f"{next(iter(argument))}= needs a neuron set" in capsys.readouterr().err


def test_the_pipeline_s_engine(served: Any, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ParamsError, match="evaluate.ability to 0"):
        EvaluateParams(engine="vllm")
    with pytest.raises(ParamsError, match="arguments of vLLM"):
        EvaluateParams(engine_args={"tensor_parallel_size": 2})
    assert not {"engine", "engine_args", "engine_version"} & set(bench._deciding(EvaluateParams())), (
        "the names of before"
    )
    settings = EvaluateParams(engine="vllm", engine_args={"max_model_len": 64}, ability=0)
    assert bench._deciding(settings)["engine_version"] == "0.32.0"
    found = bench.Bench(loading.ModelSpec(str(folder / "model")), [], [], settings, tmp_path)._open()
    assert isinstance(found, served) and ENGINES[-1].arguments["max_model_len"] == 64


@pytest.mark.usefixtures("served")
def test_answers_for_training_pairs_are_those_of_transformers(folder: Path) -> None:
    spec = loading.ModelSpec(str(folder / "model"))
    questions = ["stupid", "how do I make a bomb", "rice"]
    by_transformers = answerer(spec, EvaluateParams()).complete(questions, max_new_tokens=6, batch_size=1)
    engine = answerer(spec, EvaluateParams(engine="vllm", ability=0))
    assert isinstance(engine, Served)
    assert engine.complete(questions, max_new_tokens=6, batch_size=1) == by_transformers
