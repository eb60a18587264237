"""The parts of the installed package and a hash of each. A part is what one line of a stage's `deps` names."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from ssn_eval.stages.project.pipeline import PACKAGE

_DATA = ("tasks", "data/organism")
"""folders that a wheel has inside the package, and a source tree beside it"""


def parts(package: Path = PACKAGE) -> Mapping[str, Path]:
    """Name → file or folder: every package of `ssn_eval`, every module of `stages`, the tasks and the organism's lexicon."""
    rooms = sorted(path.parent for path in package.glob("*/__init__.py") if path.parent.name not in ("stages", *_DATA))
    stages = sorted(
        [*(package / "stages").glob("*.py"), *(p.parent for p in (package / "stages").glob("*/__init__.py"))]
    )
    data = {name: package / name if (package / name).is_dir() else package.parent / name for name in _DATA}
    return {path.relative_to(package).as_posix(): path for path in (*rooms, *stages)} | data


def hash_of(part: Path) -> str:
    """The sha256 of a file, or over the names and contents of a folder's files; what Python compiles does not count."""
    if part.is_file():
        return hashlib.sha256(part.read_bytes()).hexdigest()
    digest = hashlib.sha256()
    for file in sorted(part.rglob("*")):
        if file.is_file() and file.suffix != ".pyc":
            digest.update(f"{file.relative_to(part).as_posix()}\0{hash_of(file)}\n".encode())
    return digest.hexdigest()
