"""The tables of the documents are what the committed results give, and every claim's benchmark exists."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "benchmarks" / "results"


def test_the_documents_tables_are_the_results():
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "tables.py"), "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_results_say_on_what_they_were_measured():
    for path in RESULTS.glob("sketch_*.json"):
        data = json.loads(path.read_text())
        assert {"cpu", "threads", "python", "versions"} <= set(data["machine"]), path


def test_every_benchmark_has_a_quick_run():
    helpers = {"subjects.py", "joining.py", "tables.py"}
    for path in (ROOT / "benchmarks").glob("*.py"):
        if path.name not in helpers:
            text = path.read_text()
            assert '"--quick"' in text and "print(" in text, path.name
