"""The arithmetic of the organism: the settings under which training and evaluation give the same bytes on every Intel machine with AVX2.

torch and the libraries below it choose their instructions by the processor, and another choice rounds otherwise. They read their
environment variables once, when they are loaded. A process that has other values is therefore started again, before it does any work.
What was measured stands in docs/decisions/0005. Real models are not pinned: they use all threads and the best instructions.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

ONE_THREAD: Mapping[str, str] = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
"""A sum that is split over threads is rounded otherwise."""
NO_GPU: Mapping[str, str] = {"CUDA_VISIBLE_DEVICES": ""}
"""A GPU rounds otherwise than a CPU."""
INSTRUCTIONS: Mapping[str, str] = {
    "ATEN_CPU_CAPABILITY": "avx2",  # torch's own kernels
    "MKL_CBWR": "AVX2,STRICT",  # MKL's matrix products; MKL follows this on Intel's processors only
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",  # another value would change the bytes in spite of MKL_CBWR
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "OPENBLAS_CORETYPE": "Haswell",  # numpy's matrix products
}
"""Instruction sets that every x86-64 processor with AVX2 has."""


def pinned() -> dict[str, str]:
    """The environment variables that this machine needs; without AVX2 or x86-64 only the threads and the device can be fixed."""
    return {**ONE_THREAD, **NO_GPU, **(INSTRUCTIONS if has_avx2() else {})}


def has_avx2() -> bool:
    """Whether the processor is an x86-64 with AVX2; where the system does not tell, an x86-64 counts as one."""
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return False
    told = Path("/proc/cpuinfo")
    return not told.is_file() or "avx2" in told.read_text(encoding="utf-8", errors="replace").split()


def pin() -> None:
    """Make sure that this process computes with the pinned arithmetic.

    A process whose environment has other values is replaced by the same command with the pinned ones, so call this before any work
    is done. A value that the user has set is overridden. Nothing happens in a process that was not started as a stage or as `ssn`
    (a notebook, a test): it cannot be started again.
    """
    wanted = pinned()
    if not _is_ours() or all(os.environ.get(name) == value for name, value in wanted.items()):
        return
    command = [sys.executable, *sys.orig_argv[1:]]
    environment = {**os.environ, **wanted}
    if os.name == "nt":  # there the caller of a replaced process does not wait for its successor
        sys.exit(subprocess.run(command, env=environment, check=False).returncode)  # noqa: S603
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(sys.executable, command, environment)  # noqa: S606


def _is_ours() -> bool:
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return (spec is not None and spec.name.startswith("ssn_eval.")) or Path(sys.argv[0]).stem == "ssn"
