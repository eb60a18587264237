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
from typing import Any

import pytest
import yaml

sys.path.insert(0, str(Path(__file__).parent))
from closure import listed
from project import MACHINES, ROOT, contents, copy_of_project, dvc, start

from ssn_eval.core import arithmetic
from ssn_eval.core.files import is_portable

STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
SMALL = {
    "languages": ["en", "zh"],
    "organism": {"seed": 0, "steps": 12, "warmup_steps": 1, "checkpoint_every": 4},
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


@pytest.fixture(scope="session")
def undisturbed(once) -> Path:
    """A small pipeline that ran to its end without a stop. No test may change it."""
    return once("pipeline", lambda folder: dvc(copy_of_project(folder, SMALL), "repro", **MACHINES[0]))


@pytest.fixture
def finished(undisturbed, tmp_path) -> Path:
    """A copy of the undisturbed pipeline with its cache. A test may change it."""
    return shutil.copytree(undisturbed, tmp_path / "project", symlinks=True)


CLAIMS = [sys.executable, "-c", "from ssn_eval.cli import main; main()", "claims", "--seeds", "0,1", "--json"]


def claims(folder: Path) -> dict[str, Any]:
    """Run `ssn claims` with seeds 0 and 1 in the folder; its JSON output."""
    environment = {**os.environ, **arithmetic.pinned(), "PYTHONPATH": str(folder)}  # no stage has to start itself again
    done = subprocess.run(CLAIMS, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


@pytest.fixture(scope="session")
def claimed(once, undisturbed) -> Path:
    """A copy of the undisturbed pipeline in which `ssn claims` ran. Its output is `claims.json` beside the copy. No test may change it.

    Its params ask only for the sets and methods that the claims need; the claims add most of them.
    """

    def make(folder: Path) -> None:
        params = shutil.copytree(undisturbed, folder / "project", symlinks=True) / "params.yaml"
        settings = yaml.safe_load(params.read_text())
        settings["validate"]["sets"], settings["train"]["methods"] = ["ss"], ["ssn"]
        params.write_text(yaml.safe_dump(settings))
        (folder / "claims.json").write_text(json.dumps(claims(folder / "project")))

    return once("claims", make) / "project"


@pytest.mark.slow  # tests/reliability/test_kill.py kills its parts
def test_kill_9_then_repro_gives_the_same_results_and_then_nothing_is_left_to_do(undisturbed, tmp_path):
    """The two pipelines also ask torch and MKL for different instructions."""
    killed = copy_of_project(tmp_path / "killed", SMALL)
    resumable = "artifacts/.work-organism/checkpoint-4/trainer_state.json"
    for awaited in (resumable, "artifacts/prompts.jsonl", "artifacts/sets"):
        process = start(killed, "repro", **MACHINES[1])
        while process.poll() is None and not (killed / awaited).exists():
            time.sleep(0.05)
        if awaited != resumable:
            time.sleep(2)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    dvc(killed, "repro", **MACHINES[1])
    for name in (
        "report/metrics.json",
        "results/organism.json",
        "results/select.json",
        "results/evaluate/ssn.json",
        "artifacts/train/ssn/adapter_model.safetensors",
    ):
        assert (undisturbed / name).read_bytes() == (killed / name).read_bytes(), name
    tops = (
        "artifacts/model",
        "artifacts/scores",
        "artifacts/prompts.jsonl",
        "artifacts/pairs.jsonl",
        "artifacts/train",
    )
    expected, found = ({top: contents(folder / top) for top in tops} for folder in (undisturbed, killed))
    weights: Any = found["artifacts/model"]
    assert found == expected and "weights/model.safetensors" in weights
    metrics = json.loads((killed / "report" / "metrics.json").read_text())
    assert {"base", "suppress ss", "train ssn", "train full"} <= set(metrics["conditions"])
    started = time.monotonic()
    assert "up to date" in dvc(killed, "repro")
    assert time.monotonic() - started < 10
    assert not list(killed.rglob("*.tmp"))


@pytest.mark.slow  # its parts are tested in tests/unit/test_claims.py
def test_claims_run_the_pipeline_once_a_seed(undisturbed, claimed, tmp_path):
    """Each seed gives another model. The project's own seed comes from its cache. A second call changes nothing."""
    found = json.loads((claimed.parent / "claims.json").read_text())
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
    first, second = ((claimed / f"claims/seed-{seed}" / weights).read_bytes() for seed in (0, 1))
    assert first != second
    assert first == (undisturbed / weights).read_bytes()
    ran = {seed: {p.stem for p in (claimed / f"claims/seed-{seed}/logs/stages").iterdir()} for seed in (0, 1)}
    assert "organism" in ran[1] and not {"organism", "prompts", "score"} & ran[0], "the project's cache has them"
    again = shutil.copytree(claimed, tmp_path / "project", symlinks=True)
    assert claims(again) == found
    shutil.copy(undisturbed / "params.yaml", again)
    assert "up to date" in dvc(again, "repro")


@pytest.mark.slow  # its parts run small in tests/integration/test_frontier_sweep.py
def test_the_frontier_is_a_pipeline_of_its_own(undisturbed, claimed, tmp_path):
    """It uses the working copies of `ssn claims`, runs again only for changed settings, and is not part of `dvc repro`."""
    project, sweep = shutil.copytree(claimed, tmp_path / "project", symlinks=True), "frontier/dvc.yaml"
    dvc(project, "repro", sweep)
    found = json.loads((project / "frontier/results/frontier.json").read_text())
    assert found["seeds"] == [0, 1] and set(found["scenarios"]) == {"few"}
    assert set(found["scenarios"]["few"]["methods"]) == {"ssn", "full"}
    cells = sorted((project / "frontier/results/cells").iterdir())
    assert len(cells) == 2 + 2 * 2
    assert "up to date" in dvc(project, "repro", sweep)
    shutil.copy(undisturbed / "params.yaml", project)
    assert "up to date" in dvc(project, "repro")
    shutil.copy(claimed / "params.yaml", project)
    written = {path: path.stat().st_mtime_ns for path in cells}
    commit(project)  # an experiment needs one
    dvc(project, "exp", "run", "-S", "frontier.lr_factors=[1,2]", sweep)
    now = list((project / "frontier/results/cells").iterdir())
    assert len(now) == 2 + 2 * 2 * 2 and all(path.stat().st_mtime_ns == at for path, at in written.items())


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


def test_metrics_and_plots_are_shown_by_dvc(finished):
    shown = json.loads(dvc(finished, "metrics", "show", "--json"))
    (found,) = shown.values()
    assert set(found["data"]) >= {"report/metrics.json", "results/organism.json", "results/select.json"}
    dvc(finished, "plots", "show")
    drawn = (finished / "dvc_plots" / "index.html").read_text()
    specs = [json.loads(found) for found in re.findall(r"var spec = (\{.*?\});\n", drawn, re.DOTALL)]
    refusal, loss = specs
    assert refusal["encoding"]["color"]["field"] == "variant" and len(refusal["data"]["values"]) == 5 * 2
    assert loss["encoding"]["color"]["field"] == "method" and {v["method"] for v in loss["data"]["values"]} == {
        "ssn",
        "full",
    }


def test_metrics_diff_names_what_changed_since_the_commit(finished):
    commit(finished)
    assert json.loads(dvc(finished, "metrics", "diff", "--json")) == {}
    path = finished / "report" / "metrics.json"
    kept = path.read_bytes()
    changed = json.loads(kept)
    before, changed["conditions"]["base"]["nhr_refusal"] = changed["conditions"]["base"]["nhr_refusal"], 2.0
    path.unlink()  # it may be a link into the cache
    path.write_text(json.dumps(changed))
    try:
        found = json.loads(dvc(finished, "metrics", "diff", "--json"))
    finally:
        path.write_bytes(kept)
    (rows,) = found.values()
    assert rows == {"conditions.base.nhr_refusal": {"old": before, "new": 2.0, "diff": 2.0 - before}}
    assert "up to date" in dvc(finished, "repro")


def test_a_folder_remote_restores_outputs_that_the_project_and_its_cache_lost(finished, tmp_path):
    """docs/data.md: add a remote, push, pull."""
    dvc(finished, "remote", "add", "--local", "-d", "store", str(tmp_path / "remote"))
    dvc(finished, "push")
    adapter = finished / "artifacts/train/ssn/adapter_model.safetensors"
    kept = adapter.read_bytes()
    shutil.rmtree(finished / "artifacts/train")
    shutil.rmtree(finished / ".dvc/cache/files")
    dvc(finished, "pull", "train")
    assert adapter.read_bytes() == kept
    dvc(finished, "pull", *[name for name in STAGES if name != "train"])
    assert "up to date" in dvc(finished, "repro")


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
    assert "dvc repro score" in done.stderr and "Traceback" not in done.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["params.yaml"]
