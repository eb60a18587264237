"""`ssn_vllm` where vLLM is missing or broken, and which adapters vLLM can serve as a LoRA."""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import queue
import types
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from ssn_eval.core.errors import MissingInputError
from ssn_eval.harness.served import library, lora
from ssn_eval.models import engine


def test_without_vllm_the_model_is_one_sentence_with_the_install_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from lm_eval.api.registry import get_model

    monkeypatch.setattr(library, "is_installed", lambda: False)
    with pytest.raises(SystemExit) as caught:
        get_model("ssn_vllm").create_from_arg_string("pretrained=a,neurons=b", {"batch_size": 1, "device": None})
    (printed,) = capsys.readouterr().err.strip().splitlines()
    assert caught.value.code == 2 and printed.startswith(
        "ssn_eval: --model ssn_vllm needs vLLM, which is not installed"
    )
    assert "pip install 'ssn-eval[vllm]'" in printed


def test_a_vllm_that_cannot_be_imported_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library, "is_installed", lambda: True)
    monkeypatch.setattr(library, "_lm_eval_class", lambda: (None, "operator torchvision::nms does not exist"))
    with pytest.raises(MissingInputError, match="cannot be imported .operator torchvision::nms"):
        library.refuse_missing("this")


def test_a_folder_called_vllm_is_no_vllm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if importlib.util.find_spec("vllm") is None:
        (tmp_path / "vllm").mkdir()
        monkeypatch.syspath_prepend(tmp_path)
        assert importlib.util.find_spec("vllm") is not None
    assert engine.is_installed() == (importlib.util.find_spec("vllm").origin is not None)  # type: ignore[union-attr]


def test_the_package_for_cpus_counts_as_vllm() -> None:
    def version(name: str) -> str:
        if name == "vllm":
            raise importlib.metadata.PackageNotFoundError(name)
        return "0.32.0"

    assert library.version_of("vllm", version) == "0.32.0+cpu"


def test_an_engine_s_failure_names_its_cause_and_what_to_do() -> None:
    cause = r"failed while starting \(ValueError: No available memory for the cache"
    with pytest.raises(engine.EngineError, match=cause), engine.one_failure("starting"):
        raise ValueError("No available memory for the cache blocks.\nmore")
    with pytest.raises(engine.EngineError, match="max_model_len"), engine.one_failure("starting"):
        raise RuntimeError("CUDA out of memory")
    with pytest.raises(KeyboardInterrupt), engine.one_failure("starting"):
        raise KeyboardInterrupt


def test_a_killed_engine_ends_the_wait_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """As vLLM's client does, the body waits on a queue that nobody fills any more."""
    monkeypatch.setattr(engine, "WATCH_SECONDS", 0.01)
    answers: queue.Queue[Any] = queue.Queue()
    call: Future[Any] = Future()
    core = types.SimpleNamespace(
        resources=types.SimpleNamespace(engine_dead=False), outputs_queue=answers, utility_results={1: call}
    )
    llm = types.SimpleNamespace(llm_engine=types.SimpleNamespace(engine_core=core))
    with pytest.raises(engine.EngineError, match="failed while answering"), engine.one_failure("answering", llm):
        core.resources.engine_dead = True
        raise answers.get(timeout=30)
    assert isinstance(call.exception(timeout=30), RuntimeError)


@pytest.mark.parametrize(
    ("config", "module", "rank", "reason"),
    [
        ({}, "self_attn.q_proj", 8, None),
        ({"rank_pattern": {"x": 40}, "alpha_pattern": {"x": 40}, "r": 1, "lora_alpha": 1}, "mlp.up_proj", 40, None),
        ({"rank_pattern": {"x": 40}, "alpha_pattern": {"x": 80}, "r": 1, "lora_alpha": 1}, "mlp.up_proj", 40, "scaled"),
        ({"use_dora": True}, "self_attn.q_proj", 8, "use_dora"),
        ({"peft_type": "IA3"}, "self_attn.q_proj", 8, "IA3"),
        ({"bias": "all"}, "self_attn.q_proj", 8, "more than a LoRA"),
        ({}, "attn.c_attn", 8, "it changes model.layers.0.attn.c_attn"),
        ({}, "self_attn.q_proj", 900, "its rank is 900, and vLLM takes 512"),
    ],
    ids=str,
)
def test_which_adapters_are_served_as_a_lora(
    config: dict[str, Any], module: str, rank: int, reason: str | None, tmp_path: Path
) -> None:
    whole = {"peft_type": "LORA", "r": rank, "lora_alpha": 16, "bias": "none", **config}
    (tmp_path / "adapter_config.json").write_text(json.dumps(whole))
    name = f"base_model.model.model.layers.0.{module}.lora_"
    shapes = {f"{name}A.weight": (rank, 4), f"{name}B.weight": (4, rank)}
    save_file({k: np.zeros(shape, np.float32) for k, shape in shapes.items()}, tmp_path / "adapter_model.safetensors")
    refusal = lora.refusal(tmp_path, (8, 16, 512))
    assert refusal is None if reason is None else refusal is not None and reason in refusal
    assert lora.rank_of(tmp_path) == rank
