"""A project's `dvc.yaml`: the one of this repository, in which a hash of the installed code takes the place of each code folder.

A clone has the code beside `dvc.yaml`, so DVC sees its changes. A project has it in an environment. There the first
stage, `code`, writes `.ssn_eval/<part>.sha256` for every part of the installed package, and the stages depend on those files: after
an upgrade DVC runs the stages again whose parts have changed. The parts are those that the repository's `dvc.yaml` names.
"""

from __future__ import annotations

import re
from pathlib import Path

HASHES = ".ssn_eval"
"""the project's folder of hashes"""
PACKAGE = Path(__file__).resolve().parents[2]
_CODE = re.compile(r"^(\s+- )(?:ssn_eval/(\S+)|(tasks|data/organism))$")
_STAGES = "stages:\n"
_CODE_STAGE = f"""\
stages:
  code:
    desc: which ssn_eval is installed; a stage runs again if the part of it that the stage uses has changed
    cmd: python -m ssn_eval.stages.code {HASHES}
    always_changed: true # DVC cannot see an upgrade
    outs:
      - {HASHES}

"""


def packaged(name: str) -> str:
    """The text of one of this repository's files that a wheel brings: `dvc.yaml`, `.dvcignore`, or `.dvc/plots/<template>.json`."""
    source = PACKAGE.parent
    in_wheel = PACKAGE / "data" / "project" / name.removeprefix(".")
    path = source / name if (source / "pyproject.toml").is_file() and not in_wheel.is_file() else in_wheel
    return path.read_text(encoding="utf-8")


PLOTS = (".dvc/plots/by_language.json", ".dvc/plots/by_method.json")
"""the templates of the plots in `dvc.yaml`"""


def of_project(repository: str, version: str) -> str:
    """The text of a project's `dvc.yaml`.

    Args:
        repository: the text of this repository's `dvc.yaml`.
        version: of the package, for the first line.
    """
    stages = repository[repository.index(_STAGES) + len(_STAGES) :]
    lines = [_CODE.sub(_hash_file, line) for line in stages.splitlines()]
    return f"{headline(version)}\n{_CODE_STAGE}" + "\n".join(lines) + "\n"


def headline(version: str) -> str:
    """The first line of a project's `dvc.yaml`; `code` compares the rest of the file."""
    return f"# The pipeline: `dvc repro`. Written by `ssn init` of ssn-eval {version}; the settings are in params.yaml."


def _hash_file(match: re.Match[str]) -> str:
    return f"{match[1]}{HASHES}/{match[2] or match[3]}.sha256"
