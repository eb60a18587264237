"""The start-up shim: what it adds, when it stays out of the way, and that it can never break lm_eval."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ssn_eval.harness import bootstrap

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pyright: ignore[reportMissingImports]

SHIM = "ssn_eval/harness/shim"
INSTALL = "from ssn_eval.harness.startup import Finder, install; install(); import sys\n"


def run(root: Path, code: str, autoload: str = "1") -> subprocess.CompletedProcess[str]:
    """Run code in a fresh interpreter that finds the package by PYTHONPATH."""
    env = {**os.environ, "PYTHONPATH": str(root), "SSN_EVAL_AUTOLOAD": autoload}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env=env, cwd="/", capture_output=True, text=True, timeout=120)


def answer(root: Path, code: str, autoload: str = "1") -> str:
    done = run(root, code, autoload)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize(("group", "ours"), [("lm_eval.models", bootstrap.MODELS), ("lm_eval.tasks", bootstrap.TASKS)])
def test_entry_points_equal_the_lists_of_the_shim(root: Path, group: str, ours: dict[str, str]) -> None:
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["entry-points"][group] == ours


def test_the_task_entry_point_is_a_package_whose_folder_is_the_tasks_folder() -> None:
    from importlib.util import find_spec

    spec = find_spec(bootstrap.TASKS["ssn_eval"])
    assert spec is not None and spec.origin is not None and spec.submodule_search_locations is not None
    assert [Path(p).resolve() for p in spec.submodule_search_locations] == [bootstrap.tasks_folder()]
    assert Path(spec.origin).resolve().parent == bootstrap.tasks_folder()


def test_in_the_source_tree_the_tasks_are_those_of_the_source_tree(root: Path) -> None:
    assert bootstrap.tasks_folder() == root / "tasks"


def test_startup_imports_only_sys_and_os_and_the_package_files_import_nothing(root: Path) -> None:
    names = {}
    for file in ("ssn_eval/__init__.py", "ssn_eval/harness/__init__.py", "ssn_eval/harness/startup.py"):
        body = ast.parse((root / file).read_text(encoding="utf-8")).body
        imports = [n for n in body if isinstance(n, (ast.Import, ast.ImportFrom))]
        names[file] = {a.name for n in imports for a in n.names}
    assert list(names.values()) == [set(), set(), {"os", "sys"}]


def test_the_pth_is_one_import_line_that_is_silent_once_the_package_is_gone(root: Path) -> None:
    line = (root / SHIM / "ssn_eval_autoload.pth").read_text(encoding="utf-8")
    assert line.count("\n") == 1 and line.startswith("import ")
    done = subprocess.run([sys.executable, "-I", "-S", "-c", line], cwd="/", capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_pth_and_start_call_the_same_function(root: Path) -> None:
    module, _, function = (root / SHIM / "ssn_eval_autoload.start").read_text(encoding="utf-8").strip().partition(":")
    line = (root / SHIM / "ssn_eval_autoload.pth").read_text(encoding="utf-8")
    assert f"from {module} import {function}; {function}()" in line


def test_the_model_is_registered_after_the_built_in_ones_and_not_imported(root: Path) -> None:
    code = (
        INSTALL
        + "import lm_eval.models; from lm_eval.api.registry import model_registry as r\n"
        + "print('ssn_hf' in r, 'hf' in r, len(r) > 30, 'ssn_eval.harness.model' in sys.modules, 'torch' in sys.modules)"
    )
    assert answer(root, code) == "True True True False False"


def test_the_finder_leaves_after_both_modules_and_a_mere_look_up_is_no_import(root: Path) -> None:
    code = (
        INSTALL
        + "from importlib.util import find_spec\n"
        + "here = lambda: sum(type(f) is Finder for f in sys.meta_path)\n"
        + "install(); n = [here()]; find_spec('lm_eval.models'); n.append(here()); import lm_eval.models\n"
        + "n.append(here()); import lm_eval.tasks; n.append(here())\n"
        + "from lm_eval.api.registry import model_registry as r; print(*n, 'ssn_hf' in r)\n"
        + "print(hasattr(lm_eval.tasks.TaskManager.__init__, '_ssn_eval'), lm_eval.tasks.__spec__.loader.__dict__.keys())"
    )
    assert answer(root, code).splitlines()[0] == "1 1 1 0 True"
    assert "exec_module" not in answer(root, code).splitlines()[1]


def test_switched_off_by_the_environment(root: Path) -> None:
    code = (
        INSTALL
        + "import lm_eval.models, lm_eval.tasks; from lm_eval.api.registry import model_registry as r\n"
        + "print(any(type(f) is Finder for f in sys.meta_path), 'ssn_hf' in r,"
        + " hasattr(lm_eval.tasks.TaskManager.__init__, '_ssn_eval'))"
    )
    assert answer(root, code, autoload="0") == "False False False"


def test_a_late_install_does_the_work_at_once(root: Path) -> None:
    code = (
        "import lm_eval.models, lm_eval.tasks\n"
        + INSTALL
        + "from lm_eval.api.registry import model_registry as r\n"
        + "print('ssn_hf' in r, hasattr(lm_eval.tasks.TaskManager.__init__, '_ssn_eval'))"
    )
    assert answer(root, code) == "True True"


def test_our_folder_comes_after_the_built_in_tasks_and_before_the_users(root: Path) -> None:
    code = (
        INSTALL
        + "from pathlib import Path; from lm_eval.tasks import TaskManager, manager; import lm_eval.tasks as t\n"
        + "seen = []; manager.TaskIndex.build = lambda self, paths, **k: seen.append(list(paths)) or {}\n"
        + "a = TaskManager(include_path='mine'); b = TaskManager(); TaskManager(None, ['x', 'y'])\n"
        + "c = TaskManager(include_path='mine', include_defaults=False)\n"
        + "built_in = Path(t.__file__).parent; from ssn_eval.harness.bootstrap import tasks_folder as ours\n"
        + "mine = [Path('mine')]\n"
        + "print(seen == [[built_in, ours(), *mine], [built_in, ours()], [built_in, ours(), Path('x'), Path('y')], mine])\n"
        + "print(a.include_path, b.include_path, c.include_path)"
    )
    assert answer(root, code) == "True\nmine None mine"


def test_a_user_who_names_our_folder_gets_it_once() -> None:
    ours = bootstrap.tasks_folder()
    assert bootstrap.with_ours(str(ours)) == [str(ours)]
    assert bootstrap.with_ours(["a", ours]) == ["a", ours]
    assert bootstrap.with_ours(None) == [ours]
    assert bootstrap.with_ours("a") == [ours, "a"]


def test_an_error_of_ours_warns_and_lm_eval_works(root: Path) -> None:
    code = (
        INSTALL
        + "from ssn_eval.harness import startup; startup.HOOKS['lm_eval.models'] = 'no_such_function'\n"
        + "import lm_eval.models; from lm_eval.api.registry import model_registry as r; print('hf' in r)"
    )
    done = run(root, code)
    assert (done.returncode, done.stdout.strip()) == (0, "True")
    assert "ssn_eval could not join lm_eval.models" in done.stderr and "SSN_EVAL_AUTOLOAD=0" in done.stderr


def test_steps_aside_when_lm_eval_discovers_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    from lm_eval.api import registry
    from lm_eval.tasks import TaskManager, manager

    def untouched(self: object) -> None: ...

    monkeypatch.setattr(registry, "load_plugins", lambda: None, raising=False)
    monkeypatch.setattr(registry, "model_registry", {})
    monkeypatch.setattr(manager, "discover_plugin_task_paths", lambda: [], raising=False)
    monkeypatch.setattr(TaskManager, "__init__", untouched)
    bootstrap.register_models()
    bootstrap.include_tasks()
    assert registry.model_registry == {}
    assert TaskManager.__init__ is untouched
