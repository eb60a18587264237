"""`ssn doctor`: it finds what is wrong, says how to mend it, and exits with 1 only for a failure."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import metadata
from types import SimpleNamespace

import pytest
from click.testing import CliRunner
from conftest import CONFIGS, tiny, tiny_config

from ssn_eval.cli import health, main
from ssn_eval.core.settings import TrainParams
from ssn_eval.models import memory
from ssn_eval.models.loading import ModelSpec
from ssn_eval.training import ways

pytestmark = pytest.mark.usefixtures("own_tasks_only")


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "org" / "model"
    tiny_config("llama").save_pretrained(folder)
    return folder


def doctor(*words: object) -> tuple[int, dict]:
    done = CliRunner().invoke(main, ["doctor", "--json", *map(str, words)])
    assert "Traceback" not in done.output
    return done.exit_code, json.loads(done.stdout) if done.stdout else {"said": done.stderr}


def test_a_good_installation(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, found = doctor()
    checks = found["checks"]
    assert (code, found["ok"]) == (0, True), checks
    assert set(checks) == {
        *("python", "packages", "torch", "lm_eval sees ssn_hf", "lm_eval sees our tasks"),
        *("hub", "dvc", "cache", "disk"),
    }
    assert checks["hub"] == {
        "status": "warning",
        "found": "switched off by HF_HUB_OFFLINE",
        "mend": checks["hub"]["mend"],
    }
    assert all(check["mend"] or check["status"] == "ok" for check in checks.values())
    shown = CliRunner().invoke(main, ["doctor"]).stdout
    assert "WARN hub" in shown and "→" in shown


def test_lm_eval_does_not_see_us(monkeypatch):
    import lm_eval.models  # noqa: F401
    from lm_eval.api import registry

    monkeypatch.setattr(registry, "model_registry", {})
    code, found = doctor()
    assert code == 1 and found["checks"]["lm_eval sees ssn_hf"]["status"] == "failed"
    assert "SSN_EVAL_AUTOLOAD" in found["checks"]["lm_eval sees ssn_hf"]["mend"]


def test_versions_out_of_range(monkeypatch):
    wanted = ["numpy>=999", "no-such-package-anywhere>=1", "click>=1; extra == 'x'"]
    monkeypatch.setattr(metadata, "requires", lambda _: wanted)
    monkeypatch.setattr(metadata, "metadata", lambda _: {"Requires-Python": ">=99"})
    python, packages = health.versions()
    assert python.status == packages.status == "failed"
    assert packages.found == f"numpy {metadata.version('numpy')}, no-such-package-anywhere missing"
    assert packages.mend == "pip install 'numpy>=999' 'no-such-package-anywhere>=1'"


def test_an_unreachable_hub_is_a_warning_within_seconds(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    found = health.hub()
    assert found.status == "warning" and "refused" in found.found and found.mend


def test_dvc(tmp_path):
    assert health.dvc(tmp_path).status == "ok"
    (tmp_path / "dvc.yaml").write_text("stages:\n  one:\n    cmd: echo hi > a.txt\n    outs: [a.txt]\n")
    assert "dvc init" in (health.dvc(tmp_path).mend or "")

    def run(*words: str) -> None:
        subprocess.run([sys.executable, "-m", "dvc", *words], cwd=tmp_path, check=True, capture_output=True)

    run("init", "--no-scm")
    assert health.dvc(tmp_path).mend == "dvc repro"
    run("repro")
    assert health.dvc(tmp_path).status == "ok" and "up to date" in health.dvc(tmp_path).found
    whole = (tmp_path / "dvc.lock").read_text()
    for damaged in ("", "schema: '2.0'\nstages: [", "\x00", whole.replace("cmd:", "cm")):
        (tmp_path / "dvc.lock").write_text(damaged)
        killed = health.dvc(tmp_path)
        assert killed.status == "failed" and (killed.mend or "").startswith("delete dvc.lock, then dvc repro")
    (tmp_path / "dvc.lock").unlink()
    run("repro")
    assert health.dvc(tmp_path).status == "ok" and (tmp_path / "dvc.lock").read_text() == whole
    (tmp_path / "dvc.yaml").write_text("stages: [")
    broken = health.dvc(tmp_path)
    assert broken.status == "failed" and "dvc.yaml" in broken.found


def test_disk_and_cache(tmp_path, monkeypatch):
    assert health.disk(tmp_path).status in ("ok", "warning")
    monkeypatch.setattr(health.shutil, "disk_usage", lambda _: SimpleNamespace(free=5 << 30))
    assert health.disk(tmp_path).status == "ok"
    assert health.disk(tmp_path, need=3 << 30).status == "warning"
    assert "9.0 GiB" in (health.disk(tmp_path, need=9 << 30).mend or "")
    (tmp_path / "file").write_text("")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "file" / "cache"))
    found = health.cache()
    assert found.status == "failed" and "HF_HOME" in (found.mend or "")


def test_memory_of_a_model(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, found = doctor("--model", "org/model", "--device", "cpu")
    names = [name for name in found["checks"] if name.startswith("memory")]
    assert code == 0 and len(names) == 5
    monkeypatch.setattr(memory, "free", lambda _: 1000)
    code, found = doctor("--model", "org/model", "--device", "cpu")
    by_use = {name.removeprefix("memory: "): found["checks"][name] for name in names}
    assert code == 1 and by_use["identify"]["status"] == "failed" and "--batch-size" in by_use["identify"]["mend"]
    for use in ("train neurons", "train masked gradients", "train all weights"):
        assert by_use[use]["status"] == "warning" and "no setting makes it fit" in by_use[use]["mend"]


def test_training_says_what_makes_it_fit():
    """From plenty to nothing: in one pass, in parts, with layers computed again, with other settings, on several devices."""
    sizes = memory.Shape(32, 4096, 4096, 1024, 12288, 151936, 8_000_000_000)
    everything, neurons = (ways.demands(sizes, 4)[name] for name in ("all weights", "neurons"))
    room = (400, 180, 120, 48, 24, 4)
    found = [ways.way(everything, TrainParams(), 512, gib * 2.0**30) for gib in room]
    assert found[-1] is None
    plain, cut, frugal, two, four = (way for way in found if way)
    assert all(way.need <= gib * 2**30 for way, gib in zip((plain, cut, frugal, two, four), room[:-1], strict=True))
    assert plain.plan.is_plain and cut.plan.accumulation > 1 and plain.changes == cut.changes == []
    assert frugal.changes == ["train.optimizer adafactor"] and (two.devices, four.devices) == (2, 4)
    assert four.plan.checkpointing and four.changes[-1] == "4 devices that share the weights"
    small = ways.way(neurons, TrainParams(), 512, 48 * 2.0**30)
    assert small and small.changes == [] and small.need < plain.need / 3
    half = ways.demands(sizes, 2)
    assert half["neurons"].weights() == 16e9 and half["masked gradients"].fixed(TrainParams()) == 8e9 * 8


def test_a_model_that_is_not_there_or_not_known(tmp_path):
    code, found = doctor("--model", tmp_path / "no")
    assert code == 2 and "config" in found["said"]
    (tmp_path / "config.json").write_text('{"model_type": "no_such_type"}')
    code, found = doctor("--model", tmp_path)
    assert code == 2 and "no_such_type" in found["said"]
    assert doctor("--device", "warp")[0] == 2


@pytest.mark.parametrize("kind", sorted(CONFIGS))
def test_the_estimate_is_near_what_a_pass_keeps(kind):
    """Activations measured by the sketch's own meter on a real forward pass, against the formula over the config."""
    from ssn_eval.identification.memory import activations
    from ssn_eval.identification.readout import Readout
    from ssn_eval.models.architectures.resolving import resolve

    model = tiny(kind)
    found = memory.shape(model.config, sum(p.numel() for p in model.parameters()))
    measured = activations(model, resolve(model), Readout("last", "hidden")).linear
    assert 0.6 < measured / (found.layers * found.kept() * 4) < 1.1


def test_uses_grow_with_the_model_and_say_their_batch():
    small, large = (memory.Shape(n, 1024, 1024, 256, 4096, 32000, n * 10_000_000) for n in (10, 40))
    for a, b in zip(memory.uses(small, 2), memory.uses(large, 2), strict=True):
        assert a.name == b.name and a.batch * a.tokens > 0 and a.need < b.need
    generate, identify = (use.need for use in memory.uses(large, 2))
    assert large.parameters * 2 < generate < identify


def test_the_config_alone_is_read(model, monkeypatch):
    import transformers

    monkeypatch.setattr(transformers.AutoModelForCausalLM, "from_pretrained", None)
    assert len(list(health.memory(ModelSpec(str(model)), "cpu"))) == 5
