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


def launched(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run `command` (a script, or `-m` and a module, with arguments) in two processes of one thread each."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    launch += ["--num_machines", "1", "--main_process_port", str(port), "--mixed_precision", "no", "--dynamo_backend", "no"]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    return subprocess.run([*launch, *command], capture_output=True, text=True, env=environment, check=False)
