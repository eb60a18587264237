"""How lm_eval finds our model and our tasks: two functions that `startup` calls once lm_eval's own modules are ready.

No file of lm_eval is changed. Our models are registered lazily (as `"module:Class"` texts), after the built-in ones.
Our task folder is read after the built-in tasks and before the user's `--include_path`, so a user's task wins.
pyproject.toml declares the same values as entry points (`lm_eval.models` and `lm_eval.tasks`). Both functions do nothing
if a later lm_eval finds plugins by these entry points.
"""

from __future__ import annotations

from pathlib import Path

MODELS = {
    "ssn_hf": "ssn_eval.harness.model:SsnHFLM",
    "ssn_vllm": "ssn_eval.harness.served.model:SsnVLLM",
    "ssn_replay": "ssn_eval.harness.replayed:ReplayLM",
    "ssn_self_defense": "ssn_eval.harness.defenses:SelfDefenseLM",
    "ssn_smoothllm": "ssn_eval.harness.defenses:SmoothLM",
}
"""Name on the command line → `module:Class`; equal to the entry points of the group `lm_eval.models`."""

TASKS = {"ssn_eval": "ssn_eval.tasks"}
"""Name → package whose folder holds the tasks; equal to the entry points of the group `lm_eval.tasks`."""


def tasks_folder() -> Path:
    """The folder of our task files: the source tree's `tasks/` if we run from one, else the wheel's copy.

    `ssn_eval/tasks` is a real folder in a wheel and a link to `../tasks` in the source tree.
    """
    package = Path(__file__).resolve().parents[1]
    source = package.parent / "tasks"
    return source if (package.parent / "pyproject.toml").is_file() and source.is_dir() else package / "tasks"


def register_models() -> None:
    """Put our models into lm_eval's registry, without importing them."""
    from lm_eval.api import registry

    if hasattr(registry, "load_plugins"):
        return
    for name, target in MODELS.items():
        if name not in registry.model_registry:
            registry.model_registry.register(name, target=target)


def include_tasks() -> None:
    """Make every `TaskManager` that includes the built-in tasks read our folder too."""
    import functools
    import inspect
    import sys

    from lm_eval.tasks import TaskManager

    module = sys.modules[TaskManager.__module__]
    if hasattr(module, "discover_plugin_task_paths") or hasattr(module, "TASKS_ENTRY_POINT_GROUP"):
        return
    original = TaskManager.__init__
    if hasattr(original, "_ssn_eval"):
        return
    signature = inspect.signature(original)

    @functools.wraps(original)
    def init(self: TaskManager, *args: object, **kwargs: object) -> None:
        call = signature.bind(self, *args, **kwargs)
        call.apply_defaults()
        folders = call.arguments.get("include_path")
        if call.arguments.get("include_defaults", True):
            call.arguments["include_path"] = with_ours(folders)
        original(*call.args, **call.kwargs)
        self.include_path = folders

    init._ssn_eval = True  # type: ignore[attr-defined]
    TaskManager.__init__ = init


def with_ours(include_path: object) -> list[object]:
    """Our folder, then the user's folders; only the user's folders if ours is one of them."""
    if not include_path:
        folders: list[object] = []
    else:
        folders = list(include_path) if isinstance(include_path, (list, tuple)) else [include_path]
    own_folder = tasks_folder()
    if any(Path(str(path)).expanduser().resolve() == own_folder.resolve() for path in folders):
        return folders
    return [own_folder, *folders]
