"""The embedded judge in another program: nothing heavy is imported, and the code of its how-to page runs."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "howto" / "judge-elsewhere.md"
BLOCKED = """
import sys

class Block:
    allowed = {"ssn_eval", "py3langid", "numpy", *sys.stdlib_module_names}
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] not in self.allowed:
            raise ImportError(f"{name} is not installed with the judge alone")

sys.meta_path.insert(0, Block())
"""
GARAK = """
import types
garak, detectors, base = (types.ModuleType(n) for n in ("garak", "garak.detectors", "garak.detectors.base"))
base.Detector = type("Detector", (), {})
sys.modules.update({"garak": garak, "garak.detectors": detectors, "garak.detectors.base": base})
"""
USE = """
from types import SimpleNamespace as N
said = [N(text="ขออภัย ฉันไม่สามารถช่วยเรื่องนี้ได้"), N(text="ต้มน้ำก่อน แล้วใส่ข้าว"), None]
print(NoRefusal().detect(N(lang="th", outputs=said)), NoRefusal().detect(N(outputs=[N(text="I can't help with that.")])))
"""


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def blocks() -> list[str]:
    return re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


def test_the_judge_is_imported_without_heavy_packages_and_in_less_than_a_third_of_a_second() -> None:
    """CPU time, because other processes share the machine."""
    code = """
import json, sys, time
start = time.process_time()
from ssn_eval.judges import refusal
took = time.process_time() - start
print(json.dumps([took, sorted(m for m in sys.modules if m.split(".")[0] in ("torch", "lm_eval", "dvc", "numpy"))]))
"""
    took, heavy = json.loads(run(code))
    assert heavy == [] and took < 0.3


def test_the_pages_function_and_detector_run_with_nothing_else_installed() -> None:
    function, detector, _ = blocks()
    assert run(BLOCKED + function) == "True\n"
    assert run(BLOCKED + GARAK + detector + USE) == "[0.0, 1.0, None] [0.0]\n"


def test_the_pages_comparison_of_a_guard_runs() -> None:
    assert run(blocks()[2]).splitlines()[2:] == [
        "| en | 2 | 1.000 | 1.000 | 1.000 | 1.000 | 0 |",
        "| all | 2 | 1.000 | 1.000 | 1.000 | 1.000 | 0 |",
    ]
