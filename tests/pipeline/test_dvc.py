"""The pipeline: its deps are the stages' real imports. A small pipeline runs, survives kill -9, and then has nothing to do."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

sys.path.insert(0, str(Path(__file__).parent))
from closure import listed
from project import ROOT, copy_of_project, dvc, start

from ssn_eval.core.files import is_portable

STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
SMALL = {
    "languages": ["en", "zh"],
    "organism": {"seed": 0, "steps": 40, "warmup_steps": 1, "checkpoint_every": 10},
    "score": {"prompts": 2, "probes": 1},
    "select": {"p": 50.0, "random_seeds": [0], "sensitivity": [50]},
    "validate": {"sets": ["ss", "random_0"], "ops": ["suppress"]},
    "train": {"methods": ["ssn", "full"], "steps": 4, "batch_size": 4, "pairs": 4},
    "frontier": {
        "scenarios": {"few": {"pairs": 2}},
        "methods": ["ssn", "full"],
        "seeds": [0, 1],
        "lr_factors": [1],
        "steps": [1, 2],
        "every": [24, 48, 48],
    },
    "evaluate": {"limit": 4, "max_new_tokens": 4, "capability": "organism_capability"},
}


@pytest.mark.parametrize("name", sorted(STAGES))
def test_deps_are_the_import_closure(name):
    """DVC does not see edits to imported modules unless they are listed."""
    stage = STAGES[name].get("do", STAGES[name])
    module = stage["cmd"].split("ssn_eval.stages.")[1].split()[0]
    ours = {d for d in stage["deps"] if d.startswith("ssn_eval")}
    assert ours == set(listed(module)), "run python tests/pipeline/closure.py"


def commit(folder: Path) -> None:
    """Commit every file of the folder to git."""
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.org")
    for command in (["add", "-A"], [*identity, "commit", "--allow-empty", "-qm", "project"]):
        subprocess.run(["git", *command], cwd=folder, check=True, capture_output=True)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """A small pipeline that ran to its end without a stop."""
    folder = copy_of_project(tmp_path_factory.mktemp("pipeline") / "project", SMALL)
    dvc(folder, "repro")
    return folder


def test_kill_9_then_repro_gives_the_same_results_and_then_nothing_is_left_to_do(undisturbed, tmp_path):
    killed = copy_of_project(tmp_path / "killed", SMALL)
    resumable = "artifacts/.work-organism/checkpoint-10/trainer_state.json"
    for awaited in (resumable, "artifacts/prompts.jsonl", "artifacts/sets"):
        process = start(killed, "repro")
        while process.poll() is None and not (killed / awaited).exists():
            time.sleep(0.05)
        if awaited != resumable:
            time.sleep(2)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    dvc(killed, "repro")
    for name in (
        "report/metrics.json",
        "results/organism.json",
        "results/select.json",
        "results/evaluate/ssn.json",
        "artifacts/train/ssn/adapter_model.safetensors",
    ):
        assert (undisturbed / name).read_bytes() == (killed / name).read_bytes(), name
    metrics = json.loads((killed / "report" / "metrics.json").read_text())
    assert {"base", "suppress ss", "train ssn", "train full"} <= set(metrics["conditions"])
    started = time.monotonic()
    assert "up to date" in dvc(killed, "repro")
    assert time.monotonic() - started < 10
    assert not list(killed.rglob("*.tmp"))


def test_what_the_pipeline_writes_has_names_for_every_system_and_no_path_of_this_machine(undisturbed):
    for top in ("artifacts", "results", "report"):
        paths = list((undisturbed / top).rglob("*"))
        assert paths
        for path in paths:
            assert is_portable(path.name), path
            assert not path.name.endswith((".tmp", ".lock")) and not path.name.startswith(".work"), path
            if path.is_file():
                assert str(undisturbed).encode() not in path.read_bytes(), path
        assert len({str(p).lower() for p in paths}) == len(paths)


def test_metrics_and_plots_are_shown_by_dvc(undisturbed):
    shown = json.loads(dvc(undisturbed, "metrics", "show", "--json"))
    (found,) = shown.values()
    assert set(found["data"]) >= {"report/metrics.json", "results/organism.json", "results/select.json"}
    dvc(undisturbed, "plots", "show")
    drawn = (undisturbed / "dvc_plots" / "index.html").read_text()
    specs = [json.loads(found) for found in re.findall(r"var spec = (\{.*?\});\n", drawn, re.DOTALL)]
    refusal, loss = specs
    assert refusal["encoding"]["color"]["field"] == "variant" and len(refusal["data"]["values"]) == 5 * 2
    assert loss["encoding"]["color"]["field"] == "method" and {v["method"] for v in loss["data"]["values"]} == {
        "ssn",
        "full",
    }


def test_metrics_diff_names_what_changed_since_the_commit(undisturbed):
    commit(undisturbed)
    assert json.loads(dvc(undisturbed, "metrics", "diff", "--json")) == {}
    path = undisturbed / "report" / "metrics.json"
    kept = path.read_bytes()
    changed = json.loads(kept)
    before, changed["conditions"]["base"]["nhr_refusal"] = changed["conditions"]["base"]["nhr_refusal"], 2.0
    path.unlink()  # it may be a link into the cache
    path.write_text(json.dumps(changed))
    try:
        found = json.loads(dvc(undisturbed, "metrics", "diff", "--json"))
    finally:
        path.write_bytes(kept)
    (rows,) = found.values()
    assert rows == {"conditions.base.nhr_refusal": {"old": before, "new": 2.0, "diff": 2.0 - before}}
    assert "up to date" in dvc(undisturbed, "repro")


def test_a_folder_remote_restores_outputs_that_the_project_and_its_cache_lost(undisturbed, tmp_path):
    """docs/data.md: add a remote, push, pull."""
    dvc(undisturbed, "remote", "add", "--local", "-d", "store", str(tmp_path / "remote"))
    dvc(undisturbed, "push")
    adapter = undisturbed / "artifacts/train/ssn/adapter_model.safetensors"
    kept = adapter.read_bytes()
    shutil.rmtree(undisturbed / "artifacts/train")
    shutil.rmtree(undisturbed / ".dvc/cache/files")
    dvc(undisturbed, "pull", "train")
    assert adapter.read_bytes() == kept
    dvc(undisturbed, "pull", *[name for name in STAGES if name != "train"])
    assert "up to date" in dvc(undisturbed, "repro")


def test_claims_run_the_pipeline_once_a_seed(undisturbed):
    """Each seed gives another model. The project's own seed comes from its cache. A second call changes nothing."""
    command = [sys.executable, "-c", "from ssn_eval.cli import main; main()", "claims", "--seeds", "0,1", "--json"]
    environment = {**os.environ, "PYTHONPATH": str(undisturbed)}

    def claims():
        done = subprocess.run(command, cwd=undisturbed, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3000:]
        return json.loads(done.stdout)

    found = claims()
    assert found["seeds"] == [0, 1] and set(found["organism"]) == {"0", "1"}
    assert [claim["number"] for claim in found["claims"]] == [1, 2, 3, 4, 5, 6, 7]
    asked = {
        "MS of zh suppressed",
        "MS of zh, random 0 suppressed",
        "private of zh suppressed",
        "trained SS without zh",
    }
    assert asked <= set(found["order"])
    parts = {claim["number"]: claim["parts"][0] for claim in found["claims"]}
    assert None not in parts[1]["margins"] + parts[6]["margins"], (
        "two seeds have MS with controls, and a language left out"
    )
    assert len(found["conditions"]["base"]["en"]["values"]) == 2
    weights = "artifacts/model/weights/model.safetensors"
    first, second = ((undisturbed / f"claims/seed-{seed}" / weights).read_bytes() for seed in (0, 1))
    assert first != second
    assert first == (undisturbed / weights).read_bytes()
    ran = {seed: {p.stem for p in (undisturbed / f"claims/seed-{seed}/logs/stages").iterdir()} for seed in (0, 1)}
    assert "organism" in ran[1] and not {"organism", "prompts", "score@en"} & ran[0], "the project's cache has them"
    assert claims() == found
    assert "up to date" in dvc(undisturbed, "repro")


def test_the_frontier_is_a_pipeline_of_its_own(undisturbed):
    """It uses the working copies of `ssn claims`, runs again only for changed settings, and is not part of `dvc repro`."""
    sweep = "frontier/dvc.yaml"
    dvc(undisturbed, "repro", sweep)
    found = json.loads((undisturbed / "frontier/results/frontier.json").read_text())
    assert found["seeds"] == [0, 1] and set(found["scenarios"]) == {"few"}
    assert set(found["scenarios"]["few"]["methods"]) == {"ssn", "full"}
    cells = sorted((undisturbed / "frontier/results/cells").iterdir())
    assert len(cells) == 2 + 2 * 2
    assert "up to date" in dvc(undisturbed, "repro", sweep) and "up to date" in dvc(undisturbed, "repro")
    written = {path: path.stat().st_mtime_ns for path in cells}
    commit(undisturbed)  # an experiment needs one
    dvc(undisturbed, "exp", "run", "-S", "frontier.lr_factors=[1,2]", sweep)
    now = list((undisturbed / "frontier/results/cells").iterdir())
    assert len(now) == 2 + 2 * 2 * 2 and all(path.stat().st_mtime_ns == at for path, at in written.items())


def test_a_stage_before_its_inputs_says_what_to_run(tmp_path):
    shutil.copy(ROOT / "params.yaml", tmp_path)
    command = [
        sys.executable,
        "-m",
        "ssn_eval.stages.select",
        "artifacts/scores",
        "artifacts/sets",
        "results/select.json",
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert "dvc repro score@en" in done.stderr and "Traceback" not in done.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["params.yaml"]
