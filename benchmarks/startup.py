"""How much does the start-up shim add to every Python interpreter, and how much does the package add to lm_eval's start?

Two empty virtual environments that differ in one file, `ssn_eval_autoload.pth`; both have the package and the packages of this
environment on their path. Interpreters of the two are started in turn, so that both sides see the same machine: `python -c pass`
(wall time; medians and the middle half of the paired differences), and lm_eval until its index of tasks is there (CPU time of the
process; the ratio of the two sums). Prints one JSON object:
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
    """Make a virtual environment without pip, with the package on its path, with or without the shim; its python."""
    venv.create(folder, with_pip=False, symlinks=os.name != "nt")
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    ask = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site = Path(subprocess.run([python, "-c", ask], check=True, capture_output=True, text=True).stdout.strip())
    lent = sorted({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")})
    (site / "_ssn_eval.pth").write_text("\n".join([str(ROOT), *lent, ""]), encoding="utf-8")
    if shim:
        shutil.copy(SHIM, site)
    return python


LM_EVAL = "import lm_eval.models; from lm_eval.tasks import TaskManager; print('multijail' in TaskManager().all_tasks)"


def run(python: Path, code: str) -> str:
    """Run code in an interpreter whose environment says nothing of Python or of us; what it prints."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "SSN_EVAL"))}
    return subprocess.run([python, "-c", code], check=True, env=clean, stdout=subprocess.PIPE, text=True).stdout


def start(python: Path) -> float:
    """Seconds from starting an interpreter that does nothing to its end."""
    begin = time.perf_counter()
    run(python, "pass")
    return time.perf_counter() - begin


def start_lm_eval(python: Path, ours: bool) -> float:
    """CPU seconds of an lm_eval that reads its index of tasks; it must see ours, or must not."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    seen = run(python, LM_EVAL).strip()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if seen != str(ours):
        raise SystemExit(f"lm_eval sees our tasks: {seen}, expected {ours}; the two sides are not what they should be.")
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="60 pairs of starts in place of 400")
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
        full = 1 if runs == 60 else 8
        lm_eval = [(start_lm_eval(pythons[0], True), start_lm_eval(pythons[1], False)) for _ in range(full)]
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
            "runs": full,
        },
        "python": platform.python_version(),
    }
    json.dump(result, sys.stdout)
    print()


if __name__ == "__main__":
    main()
