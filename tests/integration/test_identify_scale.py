"""Identification where it is large: several processes, kill -9, restricted neurons, and what fits into memory."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import tiny
from test_cli_model import WORDS, done, refused, save_model, ssn
from two_processes import launched

from ssn_eval.core import store
from ssn_eval.core.neurons import NeuronSet
from ssn_eval.core.processes import Share
from ssn_eval.core.settings import ScoreParams
from ssn_eval.identification import memory as activations
from ssn_eval.identification.accumulate import Sums
from ssn_eval.identification.readout import Readout
from ssn_eval.models import memory
from ssn_eval.models.architectures.resolving import resolve


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("scale") / "model", 0)


@pytest.fixture(scope="module")
def prompts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(0)
    rows = [
        {"id": str(i), "lang": "en", "label": "harmful", "prompt": " ".join(rng.choice(WORDS, 3 + i % 5))}
        for i in range(11)
    ]
    path = tmp_path_factory.mktemp("prompts") / "prompts.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def words(model: Path, prompts: Path, out: Path, *more: str) -> list[str]:
    return ["identify", "--model", str(model), "--prompts", str(prompts), "--lang", "en", "--sites", "both",
            "--batch-size", "2", "--device", "cpu", "--out", str(out), *more]  # fmt: skip


def test_two_processes_give_the_scores_of_one(model, prompts, tmp_path):
    """`accelerate launch` shares the batches out; only one process writes."""
    one = tmp_path / "one.safetensors"
    done(*words(model, prompts, one))
    two = tmp_path / "two.safetensors"
    ran = launched(["-m", "ssn_eval.cli", *words(model, prompts, two, "--json")])
    assert ran.returncode == 0, ran.stderr[-3000:]
    said = json.loads(ran.stdout)
    assert (said["prompts"], said["processes"]) == (11, 2)
    first, second = store.load_scores(one), store.load_scores(two)
    assert list(first.scores) == list(second.scores)
    for key, values in first.scores.items():
        np.testing.assert_allclose(values, second.scores[key], rtol=1e-5, atol=1e-8)
    assert first.provenance == second.provenance
    assert not list(tmp_path.glob(".*"))


def test_shares_add_up():
    widths = {"layers.0.mlp": 3}
    parts = [Sums.empty(widths), Sums.empty(widths)]
    values = np.arange(1, 13, dtype=np.float64).reshape(4, 3)
    parts[0].add([0, 1], {"layers.0.mlp": values[:2]})
    parts[1].add([2, 3], {"layers.0.mlp": values[2:]})
    every = [
        [p.totals["layers.0.mlp"] for p in parts],
        [p.logs["layers.0.mlp"] for p in parts],
        [p.counts for p in parts],
    ]
    added = parts[0].together(Share(0, 2, lambda _mine: np.sum(every.pop(0), axis=0)))
    np.testing.assert_allclose(added.mean()["layers.0.mlp"], values.mean(0))
    np.testing.assert_allclose(added.mean(1)["layers.0.mlp"], values[[1, 3]].mean(0))
    alone = Sums.empty(widths)
    alone.add(range(4), {"layers.0.mlp": values})
    np.testing.assert_allclose(added.logs["layers.0.mlp"], alone.logs["layers.0.mlp"])


def test_kill_9_then_the_same_command_gives_the_same_bytes(model, tmp_path):
    """The run is killed by the system once some batches are on disk; nothing stands under the final name before the end."""
    rows = [
        {"id": str(i), "lang": "en", "label": "harmful", "prompt": " ".join(WORDS[(i + j) % 12] for j in range(8))}
        for i in range(240)
    ]
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text("\n".join(map(json.dumps, rows)))
    out, undisturbed = tmp_path / "scores.safetensors", tmp_path / "undisturbed.safetensors"
    command = [sys.executable, "-m", "ssn_eval.cli", *words(model, prompts, out, "--probes", "8")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, start_new_session=True)
    sums = tmp_path / ".scores.safetensors.work" / "0-of-1.safetensors"
    while process.poll() is None and not sums.exists():
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert process.returncode == -signal.SIGKILL and not out.exists()
    again = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    command[command.index(str(out))] = str(undisturbed)
    assert subprocess.run(command, env=environment, capture_output=True, check=False).returncode == 0
    assert out.read_bytes() == undisturbed.read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "prompts.jsonl", "scores.safetensors", "undisturbed.safetensors"
    ]  # fmt: skip


def test_neurons_restrict_exact_and_belong_to_the_model(model, prompts, tmp_path):
    every = tmp_path / "all.safetensors"
    done(*words(model, prompts, every, "--method", "exact", "--limit", "2"))
    whole = store.load_scores(every)
    chosen = NeuronSet.of([(0, "q_proj", 3), (1, "mlp", 7)])
    few = tmp_path / "few.json"
    store.save_neurons(few, store.NeuronFile(chosen, whole.model, {}))
    out = tmp_path / "few.safetensors"
    done(*words(model, prompts, out, "--method", "exact", "--limit", "2", "--neurons", str(few)))
    found = store.load_scores(out)
    assert set(found.scores) == {"layers.0.q_proj", "layers.1.mlp"}
    assert found.scores["layers.1.mlp"][7] == pytest.approx(whole.scores["layers.1.mlp"][7], rel=1e-5)
    assert found.scores["layers.1.mlp"].sum() == found.scores["layers.1.mlp"][7]
    refused(ssn(*words(model, prompts, tmp_path / "x.safetensors", "--neurons", str(few))), "exact")
    other = replace(whole.model, weights="0" * 64)
    store.save_neurons(few, store.NeuronFile(chosen, other, {}))
    more = ("--method", "exact", "--neurons", str(few))
    refused(ssn(*words(model, prompts, tmp_path / "x.safetensors", *more)), "another model")
    assert not (tmp_path / "x.safetensors").exists()


def test_options_reach_the_score_file(model, prompts, tmp_path):
    out = tmp_path / "s.safetensors"
    made = done(*words(model, prompts, out, "--position", "mean", "--target", "logits", "--tolerance", "0.9"))
    assert (made["position"], made["target"], made["tolerance"]) == ("mean", "logits", 0.9)
    assert made["prompts"] <= 11 and 0 < made["reliability"]["standard_error"] <= 0.9
    for wrong in (("--position", "lsat"), ("--target", "hiden"), ("--tolerance", "2")):
        refused(ssn(*words(model, prompts, tmp_path / "x.safetensors", *wrong)))
    refused(ssn(*words(model, prompts, tmp_path / "x.safetensors", "--position", "response")), "response")


def test_a_response_is_read_from_the_prompt_file(model, tmp_path):
    rows = [
        {"id": str(i), "lang": "en", "label": "harmful", "prompt": "how to", "response": WORDS[i]} for i in range(3)
    ]
    prompts = tmp_path / "pairs.jsonl"
    prompts.write_text("\n".join(map(json.dumps, rows)))
    out = tmp_path / "s.safetensors"
    assert done(*words(model, prompts, out, "--position", "response"))["prompts"] == 3


def test_the_estimate_covers_what_a_pass_keeps_and_grows_with_the_batch():
    """Against torch's own count: every tensor that autograd saves on a longer, padded batch."""
    model = tiny("llama")
    sites = resolve(model)
    found = activations.activations(model, sites, Readout())
    kept: dict[int, torch.Tensor] = {}

    def note(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    from ssn_eval.identification.sketch import sketch
    from ssn_eval.models.batches import Padded

    batch = Padded([[1] * 100, [2] * 80, [3] * 100], [(99, 100), (79, 80), (99, 100)], "cpu")([0, 1, 2])
    with (
        sketch(model, sites, Readout(), probes=1, seed=0, checkpointing=False, advance=lambda steps=1: None),
        torch.enable_grad(),
        torch.autograd.graph.saved_tensors_hooks(note, lambda t: t),
    ):
        Readout().read(model, batch)
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    saved = sum(t.untyped_storage().nbytes() for p, t in kept.items() if p not in weights)
    assert saved <= found.need(3, 100, False) <= 2.5 * saved
    assert found.need(6, 100, False) == pytest.approx(2 * found.need(3, 100, False))
    assert found.need(3, 100, True) < found.need(3, 100, False)


def test_what_does_not_fit_is_checkpointed_then_refused(llama, monkeypatch):
    sites, lengths = resolve(llama), [60] * 8
    need = activations.activations(llama, sites, Readout()).need
    said: list[str] = []

    def fit(free: float) -> ScoreParams:
        monkeypatch.setattr(activations, "free", lambda _devices: free)
        return activations.fit(llama, sites, lengths, ScoreParams(sites="both", batch_size=8), said.append)

    assert fit(1 << 40).checkpointing is False
    assert "free" in said[0] and "8 × 60 tokens" in said[0]
    assert fit(need(8, 60, True) * 1.01).checkpointing is True
    with pytest.raises(memory.MemoryNeedError, match="set the batch size to 3"):
        fit(need(3, 60, True) * 1.01)
    with pytest.raises(memory.MemoryNeedError, match="smaller dtype"):
        fit(1)


def test_weights_that_do_not_fit_are_refused_before_they_are_read(model, prompts, tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "free", lambda _devices: 1000)
    result = ssn(*words(model, prompts, tmp_path / "x.safetensors"))
    refused(result, "weights", "GiB free", "bfloat16")


def test_weight_bytes_are_the_models_own():
    model = tiny("qwen2")
    own = sum(p.numel() for p in model.parameters())
    assert memory.weight_bytes(model.config, torch.bfloat16) == 2 * own
    assert memory.gib(3 << 30) == "3.00 GiB" and memory.gib(140 << 30) == "140 GiB"
