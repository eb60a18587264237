"""What every test shares: markers by folder, no network, and where the optional real data lies."""

from __future__ import annotations

import gc
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_DATASETS_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("DVC_NO_ANALYTICS", "1")  # also in folders where a test runs `dvc init`

ROOT = Path(__file__).resolve().parents[1]
LAYERS = ("pipeline", "reliability", "integration", "unit", "real", "with_vllm")
"""the folders, the one with the longest tests first: of two workers, neither is left alone with them at the end"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test with the name of its folder, and put long tests first."""
    folders = {item: Path(item.path).relative_to(ROOT / "tests").parts[0] for item in items}
    for item, folder in folders.items():
        if folder in LAYERS:
            item.add_marker(folder.removeprefix("with_"))
    items.sort(key=lambda item: LAYERS.index(folders[item]) if folders[item] in LAYERS else len(LAYERS))


def pytest_collection_finish() -> None:
    """Let the garbage collector skip everything that is loaded by now: statsmodels runs it for every Holm correction."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def root() -> Path:
    """The project's top folder."""
    return ROOT


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Callable[[Path], object]], Path]:
    """`once(name, make)`: the folder that `make` fills, made once for all workers. Who changes something in it works in a copy."""
    base = tmp_path_factory.getbasetemp()
    top = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def folder(name: str, make: Callable[[Path], object]) -> Path:
        made, finished = top / name, top / f"{name}.finished"
        with FileLock(top / f"{name}.lock"):
            if not finished.exists():
                shutil.rmtree(made, ignore_errors=True)  # of a worker whose `make` failed
                make(made)
                finished.touch()
        return made

    return folder


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real benchmark data beside the project, which is never committed."""
    folder = Path(os.environ.get("SSN_SHARED_DATA", ROOT.parent / "shared" / "data"))
    if not (folder / "MultiJail.csv").exists():
        pytest.skip("the real benchmark data (../shared/data) is not on this machine")
    return folder
