"""How much does the start-up shim add to every Python interpreter that never imports lm_eval?

Two empty virtual environments that differ in one file, `ssn_eval_autoload.pth`; both have the package on their path.
Interpreters of the two are started in turn (`python -c pass`), so that both sides see the same machine; medians and the
middle half of the paired differences are reported. Prints one JSON object:
`{"added_ms", "added_ms_quartiles", "with_ms", "without_ms", "runs", "python"}`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
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
    (site / "_ssn_eval.pth").write_text(f"{ROOT}\n", encoding="utf-8")
    if shim:
        shutil.copy(SHIM, site)
    return python


def start(python: Path) -> float:
    """Seconds from starting an interpreter that does nothing to its end."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "SSN_EVAL"))}
    begin = time.perf_counter()
    subprocess.run([python, "-c", "pass"], check=True, env=clean)
    return time.perf_counter() - begin


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
    low, middle, high = statistics.quantiles([a - b for a, b in pairs], n=4)
    result = {
        "added_ms": round(middle, 3),
        "added_ms_quartiles": [round(low, 3), round(high, 3)],
        "with_ms": round(statistics.median(a for a, _ in pairs), 3),
        "without_ms": round(statistics.median(b for _, b in pairs), 3),
        "runs": runs,
        "python": platform.python_version(),
    }
    json.dump(result, sys.stdout)
    print()


if __name__ == "__main__":
    main()
