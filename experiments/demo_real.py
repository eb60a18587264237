"""The whole pipeline on a real chat model: `make demo-real`, or `python experiments/demo_real.py [--out real] [--model-folder FOLDER]`.

It makes the packaged Qwen2.5-Coder-0.5B-Instruct (`packaged_models.py`), and runs `dvc.yaml` on it in a working copy with the settings
below: English, Chinese, Thai and Korean, MultiJail and PolyRefuse prompts. It ends with the table and the report. The counts are
small enough for two CPU cores and an hour, so the intervals are wide; a run that was stopped resumes. Without a network, set
`SSN_DATA_DIR` to a folder with both benchmarks (docs/data.md).
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from packaged_models import MODELS, WEIGHTS, default_folder, make

from ssn_eval.core.errors import SsnError
from ssn_eval.stages import repetitions

PROJECT = Path(__file__).resolve().parents[1]
KEY = "qwen_coder_05b"
CHANGES: Mapping[str, Mapping[str, Any]] = {
    # 64 of each label to find the neurons, as many held out, of which the first 40 are asked
    "prompts": {"limit": 64, "replay_tokens": 192},
    "score": {"sites": "both", "prompts": 64, "probes": 2},
    "validate": {"sets": ["ss", "contrast", "random_0", "contrast.random_0"], "ops": ["suppress", "scale:2"]},
    "train": {"methods": ["ssn", "random"], "pairs": 16, "steps": 16, "batch_size": 8, "max_length": 320},
    "evaluate": {"batch_size": 40, "max_new_tokens": 32, "limit": 40, "capability": None},
}
"""what differs from `params.yaml`"""
LANGUAGES = ("en", "zh", "th", "ko")


def settings(model_folder: str) -> dict[str, Any]:
    """The project's settings with the changes of the demo."""
    values = yaml.safe_load((PROJECT / "params.yaml").read_text(encoding="utf-8"))
    values |= {"model": KEY, "hr": "en", "languages": list(LANGUAGES)}
    values["models"][KEY]["pretrained"] = model_folder
    for section, changes in CHANGES.items():
        values[section] = values[section] | changes
    return values


def main() -> None:
    """Make the model, run the pipeline, print the table and write the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=PROJECT / "real", help="the working copy")
    parser.add_argument(
        "--model-folder", type=Path, help="a folder that packaged_models.py made; made if it is not there"
    )
    parser.add_argument("--settings", action="store_true", help="print the settings and run nothing")
    args = parser.parse_args()
    folder = args.model_folder or PROJECT / default_folder(KEY)
    args.out.mkdir(parents=True, exist_ok=True)
    here = os.path.relpath(folder, args.out)
    if args.settings:
        print(yaml.safe_dump(settings(here), allow_unicode=True, sort_keys=False))
        return
    try:
        make(KEY, folder)
        run = repetitions.reproduce(PROJECT, args.out, settings(here))
    except SsnError as error:
        parser.exit(2, f"{error}\n")
    subprocess.run([sys.executable, "-m", "ssn_eval.cli", "report", "results", "--out", "report"], cwd=run, check=True)
    print(f"The weights are {WEIGHTS} of {MODELS[KEY].hub_id}-GGUF. The report: {run / 'report' / 'index.html'}")


if __name__ == "__main__":
    main()
