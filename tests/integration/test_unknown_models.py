"""Models on disk of types that the table does not know, wrappers without a causal class among them: every door takes them or says why not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from zoo import building

from ssn_eval.cli import main, sites
from ssn_eval.core import store
from ssn_eval.models import classes, loading
from ssn_eval.models.architectures import caching, discovery
from ssn_eval.models.architectures.discovery import entry
from ssn_eval.models.architectures.resolving import found_of
from ssn_eval.models.loading import ModelSpec

KINDS = {"cohere": "CohereForCausalLM", "mistral3": "Mistral3ForConditionalGeneration"}


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SSN_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache" / "sites"


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A tiny model of each kind with a tokenizer, and prompts."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    root = tmp_path_factory.mktemp("unknown")
    words = [f"w{i}" for i in range(100)]
    vocab = {word: i for i, word in enumerate(("<pad>", "<eos>", "<unk>", *words))}
    backend: Any = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>"
    )
    for kind, class_name in KINDS.items():
        building.build(kind, class_name).save_pretrained(root / kind)
        tokenizer.save_pretrained(root / kind)
    rows = [
        {"id": f"{label}{i}", "lang": "en", "label": label, "prompt": f"w{i} w{i + 1} w7 w{len(label)}"}
        for label in ("harmful", "harmless")
        for i in range(4)
    ]
    (root / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {kind: root / kind for kind in KINDS} | {"prompts": root / "prompts.jsonl"}


def ssn(*words: object) -> Any:
    return CliRunner().invoke(main, [*map(str, words)])


@pytest.mark.parametrize("kind", KINDS)
def test_identify_and_bake(kind: str, folders: dict[str, Path], tmp_path: Path):
    for label in ("harmful", "harmless"):
        rest = ("--lang", "en", "--label", label, "--out", tmp_path / f"{label}.safetensors", "--sites", "both")
        done = ssn("identify", "--model", folders[kind], "--prompts", folders["prompts"], *rest)
        assert done.exit_code == 0, done.output
    scores = tmp_path / "harmful.safetensors"
    assert len(store.load_scores(scores).scores) == 5 * building.LAYERS
    rest = ("--harmless", tmp_path / "harmless.safetensors", "--p", "10", "--out", tmp_path / "set.json")
    picked = ssn("select", "--harmful", scores, *rest)
    assert picked.exit_code == 0, picked.output
    baked = ssn("bake", folders[kind], "--neurons", tmp_path / "set.json", "--op", "suppress", "--out", tmp_path / "b")
    assert baked.exit_code == 0, baked.output
    again = loading.load(ModelSpec(str(tmp_path / "b")))
    assert type(again.model).__name__ == KINDS[kind]


def test_ssn_hf_runs_a_wrapper_without_a_causal_class(folders: dict[str, Path]):
    from ssn_eval.harness.model import SsnHFLM

    lm = SsnHFLM.from_spec(ModelSpec(str(folders["mistral3"])), batch_size=2)
    assert type(lm.model).__name__ == KINDS["mistral3"]
    ids = torch.tensor([[5, 6, 7, 8]])
    assert lm._model_call(ids).shape[:2] == ids.shape
    written = lm._model_generate(ids, max_length=6, stop=["<eos>"], attention_mask=torch.ones_like(ids))
    assert written.shape[1] > ids.shape[1]


def test_the_experiments_run_once_a_model(folders: dict[str, Path], own_cache: Path, monkeypatch: pytest.MonkeyPatch):
    first = loading.load(ModelSpec(str(folders["cohere"])))
    assert found_of(first.model).origin == "experiment" and len(list(own_cache.iterdir())) == 1
    monkeypatch.setattr(entry, "discover", None)
    second = loading.load(ModelSpec(str(folders["cohere"])))
    assert found_of(second.model).origin == "cache" and second.ref == first.ref
    monkeypatch.undo()
    monkeypatch.setenv("SSN_CACHE_DIR", str(own_cache.parent))
    for damaged in (
        "{",
        '{"format": "other"}',
        '{"format": "ssn-sites/1", "kinds": [], "layers": [0], "decoder": null}',
    ):
        next(own_cache.iterdir()).write_text(damaged)
        assert loading.load(ModelSpec(str(folders["cohere"]))).ref == first.ref
        assert caching.read(next(own_cache.iterdir())) is not None
    assert discovery.__doc__


def doctor(*words: object) -> tuple[int, dict[str, Any]]:
    done = ssn("doctor", "--json", *words)
    assert "Traceback" not in done.output and not isinstance(done.exception, ValueError), done.output
    return done.exit_code, json.loads(done.stdout) if done.stdout else {"said": done.stderr}


@pytest.mark.usefixtures("own_tasks_only")
def test_doctor_shows_the_table_of_sites(folders: dict[str, Path]):
    _, said = doctor("--model", folders["cohere"], "--device", "cpu")
    assert said["checks"]["site q_proj"]["found"] == f"by experiment: 32 neurons in layers 0-{building.LAYERS - 1}"
    _, said = doctor("--model", folders["mistral3"], "--device", "cpu")
    assert said["checks"]["site mlp"]["status"] == "ok"
    shown = list(sites.checks(ModelSpec(str(folders["cohere"])), "cpu", fits=True))
    assert shown[0].found.startswith("by experiment, from the cache")
    (said_no,) = sites.checks(ModelSpec(str(folders["cohere"])), "cpu", fits=False)
    assert said_no.status == "warning" and "does not fit" in said_no.found


@pytest.mark.usefixtures("own_tasks_only")
def test_doctor_reads_the_sites_of_a_known_type_from_the_config(tmp_path: Path):
    from conftest import tiny_config

    tiny_config("qwen3_moe").save_pretrained(tmp_path)
    _, said = doctor("--model", tmp_path, "--device", "cpu")
    assert said["checks"]["site mlp.<expert>"]["found"] == "from the table: 44 neurons in layers 1-2"
    assert said["checks"]["site mlp"]["found"] == "from the table: 48 neurons in layer 0"


@pytest.mark.usefixtures("own_tasks_only")
@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"quant_method": "gptq", "bits": 4}, "quantised (gptq)"),
        ({"quant_method": "awq", "bits": 4}, "quantised (awq)"),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, "quantised (bitsandbytes)"),
        ({"quant_method": "compressed-tensors"}, "quantised (compressed-tensors)"),
    ],
)
def test_doctor_refuses_what_loading_refuses(settings: dict, reason: str, tmp_path: Path, folders: dict[str, Path]):
    import shutil

    shutil.copytree(folders["cohere"], tmp_path / "m")
    config = json.loads((tmp_path / "m" / "config.json").read_text())
    (tmp_path / "m" / "config.json").write_text(json.dumps(config | {"quantization_config": settings}))
    code, said = doctor("--model", tmp_path / "m", "--device", "cpu")
    assert code == 1 and said["checks"]["weights"]["status"] == "failed"
    assert (
        said["checks"]["weights"]["found"].startswith("refused: its weights are")
        and reason in said["checks"]["weights"]["found"]
    )
    loaded = ssn(
        "identify",
        "--model",
        tmp_path / "m",
        "--lang",
        "en",
        "--prompts",
        folders["prompts"],
        "--out",
        tmp_path / "o.safetensors",
    )
    assert loaded.exit_code == 2 and "Traceback" not in loaded.output and isinstance(loaded.exception, SystemExit)


@pytest.mark.usefixtures("own_tasks_only")
def test_doctor_of_a_type_without_text(tmp_path: Path):
    from transformers import ViTConfig

    ViTConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8).save_pretrained(tmp_path)
    code, said = doctor("--model", tmp_path, "--device", "cpu")
    assert code == 2 and "vit that reads and writes text" in said["said"]


def test_the_class_of_a_config():
    import transformers

    assert classes.auto_class(transformers.LlamaConfig()) is transformers.AutoModelForCausalLM
    assert classes.auto_class(transformers.Mistral3Config()) is transformers.AutoModelForImageTextToText
    assert classes.auto_class(transformers.ViTConfig()) is transformers.AutoModelForCausalLM
