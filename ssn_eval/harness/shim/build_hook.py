"""Hatchling's build hook: what goes into a wheel besides the package. Never imported by the package itself.

Every wheel gets the start-up shim at its root. An ordinary wheel also gets the tasks, the organism's lexicon and the files
that `ssn init` makes a project of, inside the package; an editable install does not, because it reads them in the source
tree and a copy would go stale.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PROJECT = ("dvc.yaml", ".dvcignore", ".dvc/plots/by_language.json", ".dvc/plots/by_method.json")
"""what `ssn_eval/stages/project/pipeline.py` reads; without the dot in front inside the wheel"""
SHIM = ("ssn_eval_autoload.pth", "ssn_eval_autoload.start")


class ShimHook(BuildHookInterface):
    """Adds the shim to both kinds of wheel, and the data files to the ordinary one."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Name the extra files, source → place in the wheel; `version` is `standard` or `editable`."""
        root = Path(self.root)
        shim = {str(root / "ssn_eval/harness/shim" / name): name for name in SHIM}
        if version == "editable":
            build_data["force_include_editable"] = shim
            return
        lexicon = {str(f): f"ssn_eval/data/organism/{f.name}" for f in sorted((root / "data/organism").glob("*.json"))}
        project = {str(root / name): f"ssn_eval/data/project/{name.removeprefix('.')}" for name in PROJECT}
        build_data["force_include"].update(shim | lexicon | project | {str(root / "tasks"): "ssn_eval/tasks"})
