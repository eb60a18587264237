"""Two processes on one machine's CPUs, as `accelerate launch` starts them.

With `--cpu` accelerate hands several processes over to MPI and, without it, starts a single one; `--multi_gpu` starts as many as
asked, by torchrun, and on the CPU where `ACCELERATE_USE_CPU` says so.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path


def launched(command: Sequence[str], config: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run `command` (a script, or `-m` and a module, with arguments) in two processes of one thread each.

    Args:
        command: what they run.
        config: accelerate's file, in place of plain data parallelism.
    """
    return subprocess.run(launch(command, config), capture_output=True, text=True, env=environment(), check=False)


def environment() -> dict[str, str]:
    """The environment of both: one thread, no GPU."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}


def launch(command: Sequence[str], config: Path | None = None) -> list[str]:
    """The words that start `command` in two processes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [
        sys.executable,
        "-m",
        "accelerate.commands.launch",
        "--num_processes",
        "2",
        "--main_process_port",
        str(port),
    ]
    plain = ["--multi_gpu", "--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
    return [*words, *(["--config_file", str(config)] if config else plain), *command]
