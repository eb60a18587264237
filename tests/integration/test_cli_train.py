"""`ssn pairs` and `ssn train` as commands: their files, kill -9, a full disk, and one sentence for every mistake."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from safetensors.numpy import load_file
from two_processes import launched

from ssn_eval.cli import main
from ssn_eval.core import origin, store
from ssn_eval.core.languages import language
from ssn_eval.core.neurons import NeuronSet
from ssn_eval.identification import selection
from ssn_eval.models import loading
from ssn_eval.organism import lexicon, tokenizer
from ssn_eval.organism.settings import OrganismSettings
from ssn_eval.organism.training import build_model
from ssn_eval.prompts.pairs import Pair, read_pairs, refuse_unparallel, write_pairs

CHOSEN = NeuronSet.of([(0, "q_proj", 1), (1, "mlp", 3), (1, "o_proj", 5)])
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny model, a neuron set of it, prompts and pairs."""
    made = tmp_path_factory.mktemp("train")
    tok = tokenizer.build(lexicon.load())
    build_model(OrganismSettings(layers=2, hidden=32, heads=4, kv_heads=2, mlp=48), tok).save_pretrained(made / "m")
    tok.save_pretrained(made / "m")
    ref = loading.load(loading.ModelSpec(str(made / "m"), dtype="float32")).ref
    store.save_neurons(made / "ss.json", store.NeuronFile(CHOSEN, ref))
    store.save_neurons(made / "none.json", store.NeuronFile(NeuronSet.of([]), ref))
    other = origin.ModelRef("other", "b" * 64, ref.model_type, ref.geometry)
    store.save_neurons(made / "other.json", store.NeuronFile(CHOSEN, other))
    rows = [
        {"id": f"{label}-{i}", "lang": lang, "label": label, "prompt": f"how {i}?", "split": "train" if i else "val"}
        for label in ("harmful", "harmless")
        for lang in ("en", "zh", "th")
        for i in range(6)
        if (lang, i) != ("th", 5)
    ]
    (made / "prompts.jsonl").write_text("\n".join(map(json.dumps, rows)))
    pairs = [
        Pair(r["id"], r["lang"], r["label"], r["prompt"], "no" if r["label"] == "harmful" else "in the house")
        for r in rows
        if not r["id"].endswith("-5")
    ]
    write_pairs(made / "pairs.jsonl", pairs)
    write_pairs(made / "odd.jsonl", pairs[1:])
    return made


def ssn(folder: Path, *words: str) -> tuple[int, str, dict]:
    done = CliRunner().invoke(main, [w.replace("@", f"{folder}/") for w in words])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.stderr, json.loads(done.stdout) if "--json" in words and not done.exit_code else {}


def train(folder: Path, out: Path, *words: str) -> tuple[int, str, dict]:
    always = ("--model", "@m", "--out", str(out), "--steps", "4", "--batch-size", "2", "--json")
    pairs = () if "--pairs" in words else ("--pairs", "@pairs.jsonl")
    return ssn(folder, "train", *always, *pairs, *words)


def test_pairs_are_parallel_refusals_and_the_models_own_answers(folder, tmp_path, monkeypatch):
    from ssn_eval.models import generation
    from ssn_eval.models.generation import Completion

    thought = "<think>where?</think>in the house"
    said = iter([(thought, True), (language("en").refusal, True), ("here", True), ("in the middle of", False)])

    def complete(_model, _tokenizer, texts, **_options):
        return [Completion(*next(said, ("in the garden", True))) for _ in texts]

    monkeypatch.setattr(generation, "complete", complete)
    out = tmp_path / "pairs.jsonl"
    words = ("--prompts", "@prompts.jsonl", "--split", "train", "--langs", "en,th", "--out", str(out), "--json")
    code, _, value = ssn(folder, "pairs", *words, "--model", "@m", "--replay", "0.5")
    assert code == 0 and value["not_in_every_language"] == 1
    pairs = read_pairs(out)
    harmful = [p for p in pairs if p.label == "harmful"]
    refuse_unparallel(harmful)
    assert {p.id for p in harmful} == {f"harmful-{i}" for i in range(1, 5)}
    assert all(p.response == language(p.lang).refusal for p in harmful)
    benign = [p.response for p in pairs if p.label == "harmless"]
    assert "in the house" in benign and not {language("en").refusal, "in the middle of", thought} & set(benign)
    assert value["cut_off"] == 1
    assert value["by_language"]["en"] == {"harmful": 4, "harmless": 2}
    _, _, fewer = ssn(folder, "pairs", *words, "--replay", "0", "--limit", "2", "--seed", "1")
    assert fewer["by_language"]["th"] == {"harmful": 2, "harmless": 0}
    assert len({p.id for p in read_pairs(out)}) == 2


def test_a_prompt_in_two_files_is_one_pair_and_one_id_of_two_prompts_is_refused(folder, tmp_path):
    out, rows = tmp_path / "pairs.jsonl", (folder / "prompts.jsonl").read_text().splitlines()
    (tmp_path / "again.jsonl").write_text("\n".join(rows[:3]))
    words = ("--prompts", "@prompts.jsonl", "--langs", "en,zh", "--replay", "0", "--out", str(out), "--json")
    code, err, value = ssn(folder, "pairs", *words, "--prompts", str(tmp_path / "again.jsonl"))
    assert code == 0 and value["by_language"]["en"]["harmful"] == 6, err
    assert len(read_pairs(out)) == 12
    (tmp_path / "other.jsonl").write_text(json.dumps({**json.loads(rows[0]), "prompt": "another?"}))
    before = out.read_bytes()
    code, err, _ = ssn(folder, "pairs", *words, "--prompts", str(tmp_path / "other.jsonl"))
    assert code == 2 and "different harmful prompts with the id 'harmful-0' in en" in err
    assert out.read_bytes() == before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--langs", "en,sw", "--replay", "0"), "No harmful prompt is left for"),
        (("--langs", "en,xx", "--replay", "0"), "Unknown language 'xx'"),
        (("--langs", "en"), "give --model, or --replay 0"),
    ],
)
def test_mistakes_of_pairs(folder, tmp_path, words, said):
    code, err, _ = ssn(folder, "pairs", "--prompts", "@prompts.jsonl", *words, "--out", str(tmp_path / "p.jsonl"))
    assert code == 2 and said in err and not list(tmp_path.iterdir())


def test_neurons_give_an_adapter_and_masked_gradients_a_checkpoint(folder, tmp_path):
    code, err, value = train(folder, tmp_path / "a", "--neurons", "@ss.json", "--leave-out", "th")
    assert code == 0, err
    assert value["adapter"] and value["pairs"] == 20 and [e["step"] for e in value["loss"]] == [1, 2, 3, 4]
    stored = json.loads((tmp_path / "a/ssn.json").read_text())["provenance"]
    assert stored["neurons"] == CHOSEN.by_key() and str(folder) not in json.dumps(stored)
    _, _, masked = train(folder, tmp_path / "b", "--neurons", "@ss.json", "--leave-out", "th", "--method", "grad_mask")
    assert not masked["adapter"] and (tmp_path / "b/config.json").is_file()
    assert [e["loss"] for e in masked["loss"]] == pytest.approx([e["loss"] for e in value["loss"]], abs=1e-4)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b"]
    _, _, random = train(folder, tmp_path / "c", "--neurons", "@ss.json", "--method", "random", "--seed", "3")
    drawn = selection.matched_random(CHOSEN, store.load_neurons(folder / "ss.json").model.geometry, 3)
    assert json.loads((tmp_path / "c/ssn.json").read_text())["provenance"]["neurons"] == drawn.by_key()
    assert random["trainable"] == value["trainable"]


def test_two_processes_train_what_one_trains(folder, tmp_path):
    """`accelerate launch`: they share the batch, one of them writes."""
    _, _, alone = train(folder, tmp_path / "one", "--neurons", "@ss.json")
    words = ["train", "--model", "@m", "--pairs", "@pairs.jsonl", "--neurons", "@ss.json", "--steps", "4", "--json"]
    words += ["--batch-size", "2", "--out", str(tmp_path / "two")]
    ran = launched(["-m", "ssn_eval.cli", *(w.replace("@", f"{folder}/") for w in words)])
    assert ran.returncode == 0, ran.stderr[-3000:]
    both = json.loads(ran.stdout)
    assert both["processes"] == 2
    assert [e["loss"] for e in both["loss"]] == pytest.approx([e["loss"] for e in alone["loss"]], abs=1e-4)
    one, two = (load_file(tmp_path / name / "adapter_model.safetensors") for name in ("one", "two"))
    for name, weight in one.items():
        np.testing.assert_allclose(two[name], weight, atol=1e-4)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["one", "two"]


def test_rows_of_other_papers_are_methods_of_the_command(folder, tmp_path):
    """Adapters stay adapters, what each trained and its clusters are in `ssn.json`, and a control draws its set by the seed."""

    def trained(method: str, *more: str) -> tuple[dict, dict]:
        code, said, value = train(folder, tmp_path / method, "--neurons", "@ss.json", "--method", method, *more)
        assert code == 0, said
        return value, json.loads((tmp_path / method / "ssn.json").read_text())["provenance"]

    tied, origin_of_tied = trained("tied", "--clusters", "3")
    assert (
        tied["adapter"] and tied["trainable"] == 4 * 32
    )  # rows of q, gate and up, a column of o; the column of down is held
    assert origin_of_tied["clusters"] == {"layers.0.q_proj": [[1]], "layers.1.o_proj": [[5]], "layers.1.mlp": [[3]]}
    assert origin_of_tied["training"]["method"]["clusters"] == 3
    rest, _ = trained("complement")
    assert not rest["adapter"] and rest["trainable"] == rest["parameters"] - 160
    ablated, origin_of_ablated = trained("sft_ablated", "--rank", "2", "--beta", "0.5")
    assert ablated["adapter"] and origin_of_ablated["neurons"] == CHOSEN.by_key()
    both, _ = trained("mlc")
    assert both["adapter"] and both["trainable"] == 160
    _, origin_of_control = trained("tied_random", "--seed", "3")
    drawn = selection.matched_random(CHOSEN, store.load_neurons(folder / "ss.json").model.geometry, 3)
    assert origin_of_control["neurons"] == drawn.by_key()


def test_a_preference_loss_takes_every_weight_or_the_neurons(folder, tmp_path):
    _, _, whole = train(folder, tmp_path / "a", "--method", "rdpo")
    _, _, few = train(folder, tmp_path / "b", "--method", "rdpo", "--neurons", "@ss.json", "--beta", "0.5")
    assert whole["trainable"] == whole["parameters"] and few["trainable"] == 160 and few["adapter"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--method", "ssm"), "Unknown training method 'ssm'. Did you mean"),
        (("--method", "ssn"), "give --neurons FILE"),
        (("--method", "full", "--neurons", "@ss.json"), "trains no neuron set"),
        (("--neurons", "@none.json"), "which is empty"),
        (("--neurons", "@other.json"), "another model"),
        (("--neurons", "@ss.json", "--lr", "nan"), "lr must be a finite number"),
        (("--neurons", "@ss.json", "--lr", "inf"), "lr must be a finite number"),
        (("--method", "rdpo", "--beta", "-1"), "beta must be a finite number"),
        (("--neurons", "@ss.json", "--pairs", "@odd.jsonl"), "not parallel: en lacks 1 of 5"),
        (("--neurons", "@ss.json", "--leave-out", "sw"), "Unknown language to leave out 'sw'"),
        (("--neurons", "@gone.json"), "gone.json"),
        (("--neurons", "@ss.json", "--pairs", "@gone.jsonl"), "No training pairs at"),
    ],
)
def test_mistakes_of_train(folder, tmp_path, words, said):
    code, err, _ = train(folder, tmp_path / "out", *words)
    assert code == 2 and said in err and "Traceback" not in err
    assert not list(tmp_path.iterdir()), "nothing is written"


def start(folder: Path, out: Path, *words: str, limit: str = "") -> subprocess.Popen[str]:
    """`ssn train` as a process, its files of at most so many bytes."""
    code = "from ssn_eval.cli import main; main()"
    command = [sys.executable, "-c", limit + code, "train", "--model", str(folder / "m"), "--out", str(out), "--json"]
    files = ["--pairs", str(folder / "pairs.jsonl"), "--neurons", str(folder / "ss.json"), "--batch-size", "2"]
    return subprocess.Popen(
        [*command, *files, *words],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_kill_9_and_again_gives_the_same_curve_and_bytes(folder, tmp_path):
    words = ("--steps", "120", "--lr", "0.01")
    process = start(folder, tmp_path / "killed", *words)
    while process.poll() is None and not list(tmp_path.glob(".work-killed/checkpoint-*/trainer_state.json")):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL, "it was too quick to be killed"
    again, _ = start(folder, tmp_path / "killed", *words).communicate()
    _, _, whole = train(folder, tmp_path / "whole", "--neurons", "@ss.json", *words)
    assert json.loads(again)["loss"] == whole["loss"] and len(whole["loss"]) == 120
    first, second = (tmp_path / name / "adapter_model.safetensors" for name in ("killed", "whole"))
    assert first.read_bytes() == second.read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["killed", "whole"]


def test_a_full_disk_leaves_the_last_good_checkpoint_and_the_old_result(folder, tmp_path):
    """The disk is full once the first checkpoint stands: no file may grow beyond 100 bytes from then on."""
    limit = """
import resource
from ssn_eval.models import resuming
original = resuming.on_step
def filling(advance):
    callback = original(advance)
    inner = callback.on_step_end
    def end(args, state, control, **more):
        if state.global_step == 35:
            resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
        return inner(args, state, control, **more)
    callback.on_step_end = end
    return callback
resuming.on_step = filling
"""
    (tmp_path / "out").mkdir()
    (tmp_path / "out/old").write_text("the result of an earlier run")
    process = start(folder, tmp_path / "out", "--steps", "120", "--lr", "0.01", limit=limit)
    _, err = process.communicate()
    assert process.returncode == 2 and "Traceback" not in err, err[-2000:]
    assert "could not be written" in err and "the one of step 30 is kept" in err
    assert (tmp_path / "out/old").is_file()
    code, err, value = train(folder, tmp_path / "out", "--neurons", "@ss.json", "--steps", "120", "--lr", "0.01")
    assert code == 0 and len(value["loss"]) == 120, err[-2000:]
    assert load_file(tmp_path / "out/adapter_model.safetensors") and not (tmp_path / "out/old").exists()
