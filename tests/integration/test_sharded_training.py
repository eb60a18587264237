"""FSDP2 and DeepSpeed by the shipped files, on two processes of this machine's CPU: the weights of one process, and shards that resume."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence, Set
from pathlib import Path

import numpy as np
import pytest
import yaml
from safetensors.numpy import load_file
from two_processes import environment, launch, launched

from ssn_eval.core import store
from ssn_eval.core.neurons import NeuronSet
from ssn_eval.models import loading
from ssn_eval.organism import lexicon, tokenizer
from ssn_eval.organism.settings import OrganismSettings
from ssn_eval.organism.training import build_model
from ssn_eval.prompts.pairs import Pair, write_pairs

ROOT = Path(__file__).resolve().parents[2]
FSDP = ROOT / "docs" / "howto" / "fsdp2.yaml"
DEEPSPEED = FSDP.with_name("deepspeed.yaml")
ON_CPU = {FSDP: ROOT / "tests" / "fsdp_on_cpu.py", DEEPSPEED: ROOT / "tests" / "deepspeed_on_cpu.py"}
NEEDS_DEEPSPEED = pytest.mark.skipif(
    importlib.util.find_spec("deepspeed") is None, reason="DeepSpeed is not installed (pip install deepspeed)"
)
CHOSEN = NeuronSet.of([(0, "q_proj", 1), (1, "mlp", 3), (1, "o_proj", 5)])
PAIRS = [
    Pair(f"{label}-{i}", lang, label, f"how {i} {lang}?" + " very" * (i % 4), "no" + " no" * (i % 5))
    for label in ("harmful", "harmless")
    for lang in ("en", "zh")
    for i in range(8)
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny model, a neuron set of it, and 32 pairs of unequal length."""
    made = tmp_path_factory.mktemp("sharded")
    tok = tokenizer.build(lexicon.load())
    build_model(OrganismSettings(layers=2, hidden=32, heads=4, kv_heads=2, mlp=48), tok).save_pretrained(made / "m")
    tok.save_pretrained(made / "m")
    ref = loading.load(loading.ModelSpec(str(made / "m"), dtype="float32")).ref
    store.save_neurons(made / "ss.json", store.NeuronFile(CHOSEN, ref))
    write_pairs(made / "pairs.jsonl", PAIRS)
    return made


def words(folder: Path, out: Path, method: str, *more: str) -> list[str]:
    neurons = ["--neurons", str(folder / "ss.json")] if method not in ("full", "mlc") else []
    files = ["--model", str(folder / "m"), "--dtype", "float32", "--pairs", str(folder / "pairs.jsonl"), *neurons]
    return ["train", *files, "--method", method, "--json", "--out", str(out), *more]


def sharded(command: Sequence[str], config: Path = FSDP) -> subprocess.CompletedProcess[str]:
    return launched([str(ON_CPU[config]), *command], config)


def result(done: subprocess.CompletedProcess[str], out: Path) -> tuple[dict[str, np.ndarray], list[float]]:
    assert done.returncode == 0, done.stderr[-3000:]
    weights = {name: w for file in out.glob("*.safetensors") for name, w in load_file(file).items()}
    return weights, [entry["loss"] for entry in json.loads(done.stdout.strip().splitlines()[-1])["loss"]]


def killed(command: Sequence[str], config: Path, work: Path) -> None:
    """Start a sharded run, and kill it when its first checkpoint is whole."""
    words = launch([str(ON_CPU[config]), *command], config)
    process = subprocess.Popen(words, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)  # fmt: skip
    while process.poll() is None and not list(work.glob("checkpoint-*/trainer_state.json")):
        time.sleep(0.01)
    assert process.poll() is None, "it ended before it could be killed: give it more steps"
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def resumes_to_the_same_bytes(
    folder: Path, tmp_path: Path, method: str, config: Path, shards: Set[str] = frozenset()
) -> None:
    """Kill a run behind its first checkpoint, which holds `shards`, and start it again: it gives what a run gives that was not killed."""
    steps = ("--steps", "40", "--micro-batch", "4")
    whole, curve = result(sharded(words(folder, tmp_path / "whole", method, *steps), config), tmp_path / "whole")
    killed(words(folder, tmp_path / "out", method, *steps), config, work := tmp_path / ".work-out")
    assert shards <= {p.name for p in work.glob("checkpoint-*/pytorch_model_fsdp_0/*.distcp")}
    assert not (tmp_path / "out").exists()
    done = sharded(words(folder, tmp_path / "out", method, *steps), config)
    resumed, same_curve = result(done, tmp_path / "out")
    assert same_curve == curve and all(np.array_equal(resumed[name], w) for name, w in whole.items())
    assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "whole"]


def alone(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ssn_eval.cli", *command], capture_output=True, text=True, env=environment(), check=False
    )


def test_the_shipped_files_are_read_by_accelerate():
    from accelerate.commands.config.config_args import load_config_from_file

    for name, kind in (("fsdp2.yaml", "FSDP"), ("deepspeed.yaml", "DEEPSPEED")):
        config = load_config_from_file(str(FSDP.with_name(name)))
        assert config.distributed_type == kind and config.mixed_precision == "no", "precision is train.autocast"
    assert yaml.safe_load(FSDP.read_text())["fsdp_config"]["fsdp_version"] == 2


@pytest.mark.slow
@pytest.mark.parametrize("method", ["ssn", "grad_mask", "full", "complement", "tied"])
def test_two_shards_train_what_one_process_trains(folder, tmp_path, method):
    """In parts and with layers computed again, too: hooks of masked gradients do not survive sharding, other code holds them."""
    few = ("--steps", "4", "--warmup-ratio", "0")
    one, curve = result(alone(words(folder, tmp_path / "one", method, *few)), tmp_path / "one")
    fitting = (*few, "--micro-batch", "4", "--checkpointing")
    two, sharded_curve = result(sharded(words(folder, tmp_path / "two", method, *fitting)), tmp_path / "two")
    assert sharded_curve == pytest.approx(curve, abs=1e-4) and set(one) == set(two)
    for name, weight in one.items():
        np.testing.assert_allclose(two[name], weight, atol=1e-4)
    if method == "complement":
        before = load_file(folder / "m" / "model.safetensors")
        name = "model.layers.0.self_attn.q_proj.weight"
        assert [np.array_equal(two[name][row], before[name][row]) for row in (0, 1, 2)] == [False, True, False]
    if method == "grad_mask":
        before = load_file(folder / "m" / "model.safetensors")
        moved = {name: (two[name] != weight) for name, weight in before.items()}
        assert sorted(n.split(".")[-2] for n in moved if moved[n].any()) == ["down_proj", "gate_proj", "o_proj", "q_proj", "up_proj"]  # fmt: skip
        assert all(np.array_equal(moved[n], one[n] != before[n]) for n in before), "no entry beside those of the mask"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["one", "two"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "said"), [("sft_ablated", "leave out --config_file"), ("mlc", "train in one process")]
)
def test_what_shards_cannot_train_is_one_sentence(folder, tmp_path, method, said):
    done = sharded(words(folder, tmp_path / "out", method, "--steps", "1"))
    assert done.returncode != 0 and said in done.stderr and not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.parametrize("method", ["ssn", "full"])
def test_killed_shards_resume_to_the_same_bytes(folder, tmp_path, method):
    resumes_to_the_same_bytes(folder, tmp_path, method, FSDP, {"__0_0.distcp", "__1_0.distcp"})


@NEEDS_DEEPSPEED
@pytest.mark.slow
@pytest.mark.parametrize("method", ["ssn", "full"])
def test_deepspeed_trains_what_one_process_trains(folder, tmp_path, method):
    few = ("--steps", "4", "--warmup-ratio", "0")
    one, curve = result(alone(words(folder, tmp_path / "one", method, *few)), tmp_path / "one")
    fitting = (*few, "--micro-batch", "4", "--checkpointing")
    done = sharded(words(folder, tmp_path / "two", method, *fitting), DEEPSPEED)
    two, sharded_curve = result(done, tmp_path / "two")
    assert sharded_curve == pytest.approx(curve, abs=1e-4) and set(one) == set(two)
    for name, weight in one.items():
        np.testing.assert_allclose(two[name], weight, atol=1e-4)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["one", "two"]


@NEEDS_DEEPSPEED
@pytest.mark.slow
@pytest.mark.parametrize("method", ["ssn", "full"])
def test_a_killed_deepspeed_run_resumes_to_the_same_bytes(folder, tmp_path, method):
    resumes_to_the_same_bytes(folder, tmp_path, method, DEEPSPEED)


@NEEDS_DEEPSPEED
@pytest.mark.slow
@pytest.mark.parametrize("seen", ["true", "false"], ids=["told-of-cpus", "not-told"])
def test_deepspeed_on_cpus_is_one_sentence(folder, tmp_path, monkeypatch, seen):
    """There accelerate starts no group of processes, so each would train alone."""
    monkeypatch.setenv("DS_ACCELERATOR", "cpu")
    command = launch(["-m", "ssn_eval.cli", *words(folder, tmp_path / "out", "ssn", "--steps", "1")], DEEPSPEED)
    told = {**environment(), "ACCELERATE_USE_CPU": seen}
    done = subprocess.run(command, capture_output=True, text=True, env=told, check=False)
    assert done.returncode != 0 and "leave out --config_file" in done.stderr and not (tmp_path / "out").exists()


@NEEDS_DEEPSPEED
@pytest.mark.slow
def test_masked_gradients_under_deepspeed_are_one_sentence(folder, tmp_path):
    done = sharded(words(folder, tmp_path / "out", "grad_mask", "--steps", "1"), DEEPSPEED)
    assert done.returncode != 0 and "use FSDP" in done.stderr and not (tmp_path / "out").exists()
