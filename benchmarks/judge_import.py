"""The time that `from ssn_eval.judges import refusal` takes in a fresh interpreter, and what it loads.

`python benchmarks/judge_import.py [--quick]` prints `{"cpu_s", "wall_s", "runs", "heavy", "python"}`: medians over interpreters, and
those of torch, lm_eval, dvc, numpy and transformers that were loaded (none). CPU time is little changed by other work on the machine.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys

HEAVY = ("torch", "lm_eval", "dvc", "numpy", "transformers")
CODE = f"""
import json, sys, time
cpu, wall = time.process_time(), time.perf_counter()
from ssn_eval.judges import refusal
cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
print(json.dumps([cpu, wall, [name for name in {HEAVY} if name in sys.modules]]))
"""


def once() -> tuple[float, float, list[str]]:
    """CPU seconds, wall seconds, and the heavy packages that one interpreter loaded."""
    done = subprocess.run([sys.executable, "-c", CODE], check=True, capture_output=True, text=True)
    return tuple(json.loads(done.stdout))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="3 interpreters instead of 20")
    runs = [once() for _ in range(3 if parser.parse_args().quick else 20)]
    result = {
        "cpu_s": round(statistics.median(run[0] for run in runs), 3),
        "wall_s": round(statistics.median(run[1] for run in runs), 3),
        "runs": len(runs),
        "heavy": sorted({name for run in runs for name in run[2]}),
        "python": platform.python_version(),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
