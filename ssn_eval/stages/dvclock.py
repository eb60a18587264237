"""DVC's lock file, `dvc.lock`: whether DVC can read it. DVC writes it in place, so a kill at that moment leaves half a file."""

from __future__ import annotations

from pathlib import Path

NAME = "dvc.lock"


def is_damaged(folder: Path) -> bool:
    """Whether the folder has a lock file that DVC would refuse. Without it, `dvc repro` takes finished outputs from its cache."""
    path = folder / NAME
    if not path.is_file():
        return False
    from dvc.exceptions import DvcException
    from dvc.schema import COMPILED_LOCKFILE_SCHEMA
    from dvc.utils import strictyaml

    try:
        # as DVC itself reads it: ruamel's safe loader, which makes plain values and no objects
        strictyaml.load(str(path), COMPILED_LOCKFILE_SCHEMA)
    except DvcException:
        return True
    return False
