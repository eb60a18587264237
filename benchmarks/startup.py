"""The time that the start-up shim adds to every Python interpreter, and that the package adds to lm_eval's start.

Two empty virtual environments differ in one file, `ssn_eval_autoload.pth`. Both have the package and the packages of this
environment on their path. Their interpreters are started in turn, so that both sides see the same machine. The first
measurement is `python -c pass` (wall time; medians, and quartiles of the paired differences). The second is lm_eval until it has
read its index of tasks (CPU time of the process; the ratio of the two sums). Prints one JSON object:
`{"added_ms", "added_ms_quartiles", "with_ms", "without_ms", "runs", "lm_eval": {"ratio", "with_s", "without_s", "runs"}, "python"}`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SHIM = ROOT / "ssn_eval" / "harness" / "shim" / "ssn_eval_autoload.pth"


def environment(folder: Path, shim: bool) -> Path:
    """Make a virtual environment without pip, with the package on its path and with or without the shim; return its Python."""
    venv.create(folder, with_pip=False, symlinks=os.name != "nt")
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site = Path(subprocess.run([python, "-c", code], check=True, capture_output=True, text=True).stdout.strip())
    packages = sorted({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")})
    (site / "_ssn_eval.pth").write_text("\n".join([str(ROOT), *packages, ""]), encoding="utf-8")
    if shim:
        shutil.copy(SHIM, site)
    return python


LM_EVAL = "import lm_eval.models; from lm_eval.tasks import TaskManager; print('multijail' in TaskManager().all_tasks)"


def run(python: Path, code: str) -> str:
    """Run code without any environment variable of Python or of this package; return the text that it prints."""
    environment_variables = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "SSN_EVAL"))}
    return subprocess.run(
        [python, "-c", code], check=True, env=environment_variables, stdout=subprocess.PIPE, text=True
    ).stdout


def start(python: Path) -> float:
    """Seconds that an interpreter takes to start, do nothing, and end."""
    started = time.perf_counter()
    run(python, "pass")
    return time.perf_counter() - started


def start_lm_eval(python: Path, ours: bool) -> float:
    """CPU seconds of an lm_eval that reads its index of tasks; ends the program unless our tasks are in it exactly if `ours`."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    has_ours = run(python, LM_EVAL).strip()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if has_ours != str(ours):
        raise SystemExit(f"lm_eval has our tasks: {has_ours}, expected {ours}; an environment was not made correctly.")
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="60 pairs of starts instead of 400")
    runs = 60 if parser.parse_args().quick else 400
    with tempfile.TemporaryDirectory() as temporary:
        pythons = environment(Path(temporary, "with"), True), environment(Path(temporary, "without"), False)
        for python in pythons * 3:
            start(python)
        pairs = []
        for i in range(runs):
            first = i % 2
            times = {first: start(pythons[first]), 1 - first: start(pythons[1 - first])}
            pairs.append((1000 * times[0], 1000 * times[1]))
        lm_eval_runs = 1 if runs == 60 else 8
        lm_eval = [(start_lm_eval(pythons[0], True), start_lm_eval(pythons[1], False)) for _ in range(lm_eval_runs)]
    low, middle, high = statistics.quantiles([a - b for a, b in pairs], n=4)
    result = {
        "added_ms": round(middle, 3),
        "added_ms_quartiles": [round(low, 3), round(high, 3)],
        "with_ms": round(statistics.median(a for a, _ in pairs), 3),
        "without_ms": round(statistics.median(b for _, b in pairs), 3),
        "runs": runs,
        "lm_eval": {
            "ratio": round(sum(a for a, _ in lm_eval) / sum(b for _, b in lm_eval), 4),
            "with_s": round(statistics.median(a for a, _ in lm_eval), 3),
            "without_s": round(statistics.median(b for _, b in lm_eval), 3),
            "runs": lm_eval_runs,
        },
        "python": platform.python_version(),
    }
    json.dump(result, sys.stdout)
    print()


if __name__ == "__main__":
    main()
