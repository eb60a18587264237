"""The pipeline with `evaluate.engine: vllm`: every stage runs, and in float32 it reads the same replies as with transformers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml
from pipeline.project import copy_of_project, dvc

from with_vllm import small

LANGS = ("en", "th")
SETTINGS = {
    "model": "small",
    "languages": list(LANGS),
    "hr": "en",
    "prompts": {"harmful": "own.jsonl", "harmless": "own.jsonl", "heldout": 0.5, "limit": None, "replay_tokens": 16},
    "score": {"prompts": 4, "probes": 1},
    "select": {"p": 10, "random_seeds": [0]},
    "validate": {"sets": ["ss", "random_0"], "ops": ["suppress", "scale:2"]},
    "train": {"methods": ["ssn", "full"], "pairs": 2, "steps": 2, "batch_size": 2},
    "evaluate": {"batch_size": 8, "max_new_tokens": 12, "capability": None, "ability": 0, "samples": True},
}
ENGINE = {name: value for name, value in small.ENGINE.items() if name != "batch_size"}


def run(folder: Path, model: Path, engine: dict[str, Any]) -> dict[str, dict[tuple[str, ...], str]]:
    """Run the pipeline; the pairs' answers and every condition's replies by file."""
    evaluate = {**SETTINGS["evaluate"], **engine}  # type: ignore[dict-item]
    project = copy_of_project(folder, SETTINGS | {"evaluate": evaluate})
    settings = yaml.safe_load((project / "params.yaml").read_text())
    settings["models"]["small"] = {"pretrained": str(model), "dtype": "float32"}
    (project / "params.yaml").write_text(yaml.safe_dump(settings))
    rows = [
        {"id": f"{label}{i}", "lang": lang, "label": label, "prompt": prompt}
        for lang in LANGS
        for label in ("harmful", "harmless")
        for i, prompt in enumerate(f"{prompt} {label}" for prompt in (*small.PROMPTS, "b c d", "rice and land", "how"))
    ]
    (project / "own.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    dvc(project, "repro")
    assert (project / "report/index.html").is_file()
    samples = {
        file.relative_to(project / "artifacts/samples").as_posix(): [
            json.loads(line) for line in file.read_text().splitlines()
        ]
        for file in sorted((project / "artifacts/samples").rglob("*.jsonl"))
    }
    pairs = [json.loads(line) for line in (project / "artifacts/pairs.jsonl").read_text().splitlines()]
    return {
        "pairs": {(p["id"], p["lang"], p["label"]): p["response"] for p in pairs},
        **{
            name: {(r["condition"], r["id"], r["lang"], r["label"]): r["response"] for r in found}
            for name, found in samples.items()
        },
    }


def test_the_pipeline_reads_the_same_replies_from_both_engines(once, tmp_path: Path) -> None:
    model = once("small", small.make) / "model"
    by_vllm = run(tmp_path / "vllm", model, {"engine": "vllm", "engine_args": ENGINE})
    by_hf = run(tmp_path / "hf", model, {})
    assert by_vllm.keys() == by_hf.keys() and len(by_vllm) == 6  # pairs, two sets, base and two methods
    assert by_vllm == by_hf
    changed = {name: by_vllm[name] for name in by_vllm if name.startswith("validate")}
    assert all(len(set(replies.values())) > 1 for replies in changed.values())
