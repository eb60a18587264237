"""Tests that run vLLM itself (`make test-vllm`): small engines on the CPU, in the test's own process where that is enough."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from torch.utils import collect_env

os.environ.setdefault("VLLM_ENABLE_V1_MULTIPROCESSING", "0")  # a process of its own takes a minute to start
os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")
os.environ.setdefault("VLLM_LOGGING_LEVEL", "WARNING")

# lm_eval asks pip and the system of it after every run
collect_env.get_pretty_env_info = cache(collect_env.get_pretty_env_info)


@pytest.fixture(scope="session", autouse=True)
def _installed() -> None:
    """Skip where there is no vLLM."""
    from ssn_eval.models import engine

    if not engine.is_installed():
        pytest.skip("vLLM is not installed; `make test-vllm` makes an environment of its own")


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Baked weights lie in a folder of the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSN_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def own_tasks_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """lm_eval's own 14,000 tasks take seconds to read and are not what is tested."""
    from lm_eval.tasks import manager

    build = manager.TaskIndex.build

    def ours(self: Any, paths: Any, **more: Any) -> Any:
        return build([p for p in paths if "lm_eval/tasks" not in Path(p).as_posix()], **more)

    monkeypatch.setattr(manager.TaskIndex, "build", ours)


@pytest.fixture(scope="session")
def real_model() -> Path:
    """The folder of a real chat model."""
    folder = os.environ.get("SSN_VLLM_MODEL")
    if not folder:
        pytest.skip("SSN_VLLM_MODEL does not name the folder of a real chat model")
    return Path(folder)
