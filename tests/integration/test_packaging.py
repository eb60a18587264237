"""The package as a user gets it: a wheel and an editable install, each in a fresh environment, from another folder.

The environments have no index and no network (`tests/wheels.py`).
"""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import wheels
from wheels import OFFLINE, Environment, fresh

from ssn_eval.harness.bootstrap import MODELS
from ssn_eval.stages.project.pipeline import PLOTS

PROBE = """
import json, os, sys, lm_eval.models
from lm_eval.api.registry import model_registry
from lm_eval.tasks import TaskManager, manager
build = manager.TaskIndex.build
manager.TaskIndex.build = lambda self, paths, **k: build([p for p in paths if "lm_eval/tasks" not in p.as_posix()], **k)
tasks = TaskManager()
from importlib.metadata import entry_points
from importlib.util import find_spec
package = find_spec("ssn_eval")
print(json.dumps({
    "model": "ssn_hf" in model_registry, "built_in": "hf" in model_registry, "tasks": len(tasks.all_tasks),
    "multijail": str(tasks.task_index["multijail"].yaml_path) if "multijail" in tasks.task_index else None,
    "package": package and package.origin,
    "entry_points": sorted(e.name for g in ("lm_eval.models", "lm_eval.tasks") for e in entry_points(group=g)),
}))
"""


def probe(environment: Environment, **env: str) -> dict[str, object]:
    """What lm_eval sees in an environment."""
    done = environment.run(str(environment.python), "-c", PROBE, **env)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project's tree as a clone would give it, so that nothing is written into the real one."""
    return wheels.clone(tmp_path_factory.mktemp("clone") / "project")


@pytest.fixture(scope="module")
def wheel(once: Callable[[str, Callable[[Path], object]], Path]) -> Path:
    """The wheel, built by way of the source archive, as an index would have it."""
    return next(once("wheel", wheels.build).glob("*.whl"))


@pytest.fixture(scope="module")
def from_wheel(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    environment = fresh(tmp_path_factory.mktemp("wheel") / "env")
    environment.pip("install", *OFFLINE, str(wheel))
    return environment


@pytest.fixture(scope="module")
def from_source(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    environment = fresh(tmp_path_factory.mktemp("editable") / "env")
    environment.pip("install", *OFFLINE, "-e", str(source))
    return environment


def test_the_wheel_holds_package_tasks_lexicon_and_shim(wheel: Path, root: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    tasks = {f"ssn_eval/tasks/{p.relative_to(root / 'tasks').as_posix()}" for p in (root / "tasks").rglob("*yaml")}
    lexicon = {f"ssn_eval/data/organism/{p.name}" for p in (root / "data" / "organism").glob("*.json")}
    assert len(tasks) > 30 and len(lexicon) >= 6
    assert tasks | lexicon <= names
    project = {f"ssn_eval/data/project/{name.removeprefix('.')}" for name in (*PLOTS, "dvc.yaml", ".dvcignore")}
    assert project <= names
    roots = {name.split("/")[0] for name in names}
    assert {r for r in roots if not r.endswith(".dist-info")} == {
        *("ssn_eval", "ssn_eval_autoload.pth", "ssn_eval_autoload.start")
    }
    assert not any("shim" in name or "lm_eval/" in name or "__pycache__" in name for name in names)


def test_the_wheel_is_small_typed_and_says_what_it_is(wheel: Path) -> None:
    assert wheel.stat().st_size < 1_000_000
    archive = zipfile.ZipFile(wheel)
    assert "ssn_eval/py.typed" in archive.namelist()
    said = archive.read(next(n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))).decode()
    for line in (
        "Requires-Python: >=3.10",
        "Classifier: Programming Language :: Python :: 3.13",
        "Classifier: Typing :: Typed",
    ):
        assert line in said
    for extra in ("guards", "vllm", "docs", "dev"):
        assert f"Provides-Extra: {extra}" in said
    needed = [line for line in said.splitlines() if line.startswith("Requires-Dist") and "extra ==" not in line]
    assert len(needed) < 30, "the core install stays lean"


COMMANDS = """
import json, sys
from pathlib import Path
from click.testing import CliRunner
from ssn_eval.cli import main
import ssn_eval

def ssn(*words):
    done = CliRunner().invoke(main, [*map(str, words), "--json", "--quiet"])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)

import torch
from transformers import LlamaConfig, LlamaForCausalLM
from ssn_eval.organism import lexicon, questions, tokenizer
torch.manual_seed(0)
words = tokenizer.build(lexicon.load())
LlamaForCausalLM(LlamaConfig(vocab_size=len(words), hidden_size=16, intermediate_size=24, num_hidden_layers=2,
    num_attention_heads=2, num_key_value_heads=1, max_position_embeddings=128)).save_pretrained("model")
words.save_pretrained("model")
rows = [{"id": item.id, "lang": lang, "label": label, "prompt": item.prompt}
        for lang in ("en", "th") for label in ("harmful", "harmless")
        for item in questions.items(lexicon.load(), lang, label, "heldout")[:4]]
Path("p.jsonl").write_text("\\n".join(map(json.dumps, rows)))
for label in ("harmful", "harmless"):
    ssn("identify", "--model", "model", "--prompts", "p.jsonl", "--lang", "th", "--label", label, "--out", f"{label}.safetensors")
ssn("select", "--harmful", "harmful.safetensors", "--harmless", "harmless.safetensors", "--p", 30, "--out", "ms.json")
ssn("export", "ms.json", "--format", "sntune", "--drop-unsupported", "--out", "ms.txt")
ssn("export", "ms.json", "--format", "peft", "--model", "model", "--out", "adapter")
ssn("diff", "ms.json", "ms.json")
print(json.dumps({"package": ssn_eval.__file__, **ssn("show", "ms.json")}))
"""


def test_the_commands_of_a_wheel(from_wheel: Environment) -> None:
    """The script, the doctor, and one neuron set from prompts to an adapter, without the source tree."""
    ssn = str(from_wheel.python.with_name("ssn"))
    version = from_wheel.run(ssn, "--version")
    assert version.returncode == 0 and "0." in version.stdout, version.stderr
    found = json.loads(from_wheel.run(ssn, "doctor", "--json", "--quiet").stdout)
    assert found["ok"], found
    assert {found["checks"][f"lm_eval sees {what}"]["status"] for what in ("ssn_hf", "our tasks")} == {"ok"}
    done = from_wheel.run(str(from_wheel.python), "-c", COMMANDS)
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    assert shown["neurons"] > 0 and shown["package"] == str(from_wheel.site / "ssn_eval" / "__init__.py")


def test_a_wheel_works_from_any_folder(from_wheel: Environment) -> None:
    seen = probe(from_wheel)
    inside = from_wheel.site / "ssn_eval"
    assert seen["package"] == str(inside / "__init__.py")
    assert seen["multijail"] == str(inside / "tasks" / "multijail" / "_multijail.yaml")
    assert (seen["model"], seen["built_in"]) == (True, True)
    assert seen["entry_points"] == sorted(["ssn_eval", *MODELS])
    ask = "from ssn_eval.harness.datasets import organism; print(len(organism('sw', 'harmful')['test']))"
    done = from_wheel.run(str(from_wheel.python), "-c", ask)
    assert done.returncode == 0 and int(done.stdout) > 0, done.stderr


def test_an_editable_install_uses_the_tasks_of_the_source_tree(from_source: Environment, source: Path) -> None:
    seen = probe(from_source)
    assert seen["package"] == str(source / "ssn_eval" / "__init__.py")
    assert seen["multijail"] == str(source / "tasks" / "multijail" / "_multijail.yaml")
    assert (seen["model"], seen["built_in"]) == (True, True)
    copies = [f for f in from_source.files() if f.endswith((".yaml", ".json")) and "dist-info" not in f]
    assert copies == [], "a copy in the environment would go stale"


@pytest.mark.parametrize("kind", ["from_wheel", "from_source"])
def test_switched_off_by_the_environment(kind: str, request: pytest.FixtureRequest) -> None:
    seen = probe(request.getfixturevalue(kind), SSN_EVAL_AUTOLOAD="0")
    assert (seen["model"], seen["built_in"], seen["tasks"]) == (False, True, 0)


def test_an_isolated_interpreter_sees_the_same(from_wheel: Environment) -> None:
    code = "import lm_eval.models; from lm_eval.api.registry import model_registry as r; print('ssn_hf' in r)"
    done = from_wheel.run(str(from_wheel.python), "-I", "-c", code)
    assert done.stdout.strip() == "True", done.stderr


def test_the_literal_command_runs_our_task(from_wheel: Environment) -> None:
    """`lm_eval` without `--include_path`: the tasks are found, the replies judged, the table printed."""
    command = ("-m", "lm_eval", "--model", "dummy", "--tasks", "organism_safety_sw", "--limit", "2")
    done = from_wheel.run(str(from_wheel.python), *command)
    assert done.returncode == 0, done.stderr
    assert "compliance_rate" in done.stdout and "organism_safety_sw" in done.stdout


@pytest.mark.parametrize("kind", ["wheel", "source"])
def test_uninstalling_leaves_nothing(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """In an environment of its own, so that the other tests keep theirs."""
    environment = fresh(tmp_path / "env")
    before = environment.files()
    what = (*(("-e",) if kind == "source" else ()), str(request.getfixturevalue(kind)))
    environment.pip("install", *OFFLINE, *what)
    assert {f for f in environment.files() if f.endswith(("ssn_eval_autoload.pth", "ssn_eval_autoload.start"))}
    assert len(environment.files()) > len(before)
    environment.pip("uninstall", "-y", "ssn-eval")
    assert environment.files() == before
    done = environment.run(str(environment.python), "-c", "import sys; print('ssn_eval' in sys.modules)")
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "False", "")


def test_a_shim_left_behind_is_silent(from_wheel: Environment, tmp_path: Path) -> None:
    environment = fresh(tmp_path / "env")
    shutil.copy(from_wheel.site / "ssn_eval_autoload.pth", environment.site)
    done = environment.run(str(environment.python), "-c", "pass")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
