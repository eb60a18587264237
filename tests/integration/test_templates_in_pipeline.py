"""The whole pipeline on models with chat templates: every stage shows the model the same text for a prompt."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import models_on_disk
import pytest
import yaml
from test_templates import GEMMA, GPT_OSS, LLAMA3, MISTRAL, QWEN3, R1
from transformers import AutoTokenizer
from transformers.models.llama.modeling_llama import LlamaModel

from ssn_eval.core import files, params
from ssn_eval.models.loading import ModelSpec
from ssn_eval.stages import evaluate, prompts, score, select, train, validate

ROOT = Path(__file__).resolve().parents[2]
TEXT = "how {} the bread {}"
SETTINGS: dict[str, Any] = {
    "model": "tiny",
    "languages": ["en", "zh"],
    "prompts": {"harmful": "harmful.jsonl", "harmless": "harmless.jsonl", "heldout": 0.5, "replay_tokens": 3},
    "score": {"prompts": 2, "probes": 1},
    "select": {"p": 20.0, "random_seeds": [0], "sensitivity": [20]},
    "validate": {"sets": ["ss"], "ops": ["suppress"]},
    "train": {"methods": ["ssn"], "steps": 2, "batch_size": 2, "pairs": 2, "replay": 0},
    "evaluate": {"max_new_tokens": 2, "batch_size": 4, "capability": None, "ability": 0},
}


def prepare(folder: Path, template: str, args: dict[str, Any], system: str | None) -> params.Params:
    """A tiny model with this template, prompts of two languages, and the pipeline's params."""
    models_on_disk.llama(folder / "weights", positions=512)
    tok = AutoTokenizer.from_pretrained(folder / "weights")
    tok.chat_template = template
    tok.save_pretrained(folder / "weights")
    spec = ModelSpec("weights", dtype="float32", chat_template_args=args, system_prompt=system)
    files.write_json(folder / "model" / "spec.json", spec.to_json())
    for label in ("harmful", "harmless"):
        rows = [
            {"id": f"{label}{i}", "lang": lang, "label": label, "prompt": TEXT.format(label, i)}
            for lang in ("en", "zh")
            for i in range(6)
        ]
        (folder / f"{label}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    content = yaml.safe_load((ROOT / "params.yaml").read_text())
    for key, values in SETTINGS.items():
        content[key] = content[key] | values if isinstance(values, dict) else values
    content["models"]["tiny"] = {"pretrained": "weights"}
    (folder / "params.yaml").write_text(yaml.safe_dump(content))
    return params.load(folder / "params.yaml")


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """The token ids of every sequence that the decoder reads, without padding; later steps of a generation are left out."""
    rows: list[list[int]] = []
    forward: Callable[..., Any] = LlamaModel.forward

    def record(self: LlamaModel, input_ids: Any = None, **more: Any) -> Any:
        if input_ids is not None and input_ids.shape[1] > 1:
            kept = ([i for i in ids if i != self.config.pad_token_id] for ids in input_ids.tolist())
            rows.extend(ids for ids in kept if ids)  # a trial of the memory holds padding only
        return forward(self, input_ids=input_ids, **more)

    monkeypatch.setattr(LlamaModel, "forward", record)
    return rows


@pytest.mark.parametrize(
    ("template", "args", "system", "shown"),
    [
        (QWEN3, {}, "Be kind.", "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"),
        (QWEN3, {"enable_thinking": True}, None, "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"),
        (R1, {}, None, "<|User|>{}<|Assistant|><think>\n"),
        (GEMMA, {}, None, "<|begin|><start_of_turn>user\n{}<end_of_turn>\n<start_of_turn>model\n"),
        (LLAMA3, {}, None, "<|begin|><|start_header_id|>user<|end_header_id|>\n\n{}<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"),
        (MISTRAL, {}, None, "<|begin|>[INST] {}[/INST]"),
        (GPT_OSS, {"reasoning_effort": "low"}, None, "<|start|>system<|message|>Reasoning: low<|end|><|start|>user<|message|>{}<|end|><|start|>assistant"),
    ],
    ids=["qwen3 system", "qwen3 thinking", "r1", "gemma", "llama3", "mistral", "gpt-oss"],
)  # fmt: skip
def test_every_stage_shows_the_model_the_same_text(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    seen: list[list[int]],
    template: str,
    args: dict[str, Any],
    system: str | None,
    shown: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = prepare(tmp_path, template, args, system)
    tok: Any = AutoTokenizer.from_pretrained("weights")
    model, rows, pairs, sets = Path("model"), Path("prompts.jsonl"), Path("pairs.jsonl"), Path("sets")
    expected = {
        tuple(tok(shown.format(TEXT.format(label, i)), add_special_tokens=False)["input_ids"])
        for label in ("harmful", "harmless")
        for i in range(6)
    }

    def stage(run: Callable[[], object]) -> None:
        """Run a stage; every sequence that the model reads in it must begin with the text of one of the prompts."""
        seen.clear()
        run()
        assert seen, "the model read nothing"
        for ids in seen:
            assert any(tuple(ids[: len(prompt)]) == prompt for prompt in expected), tok.decode(ids)

    prompts.main(settings, model, rows, pairs)
    stage(lambda: score.main(settings, model, rows, Path("scores")))
    assert set(map(tuple, seen)) <= expected, "identification reads the prompts and nothing else"
    select.main(settings, Path("scores"), sets, Path("select.json"))
    trained, summary = Path("train/ssn"), Path("train.json")
    stage(lambda: train.main(settings, Path("ssn"), model, pairs, sets, trained, summary))
    stage(lambda: validate.main(settings, model, rows, sets, Path("results/validate"), Path("samples/validate")))
    results = Path("results/evaluate")
    stage(lambda: evaluate.main(settings, model, rows, Path("train"), results, Path("samples/evaluate")))
    assert set(map(tuple, seen)) <= expected, "evaluation begins with the prompts and nothing else"

    template_of = json.loads(Path("sets/ss.json").read_text())["provenance"]["template"]
    assert template_of == json.loads((results / "ssn.json").read_text())["model"]["template"]
    assert template_of.get("system_prompt") == system and template_of["chat_template"]
