"""Which model it is: the weights' hash follows what is loaded, an incomplete checkpoint is refused, and a cache serves one model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import models_on_disk
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from ssn_eval.core.errors import FormatError, SsnError
from ssn_eval.harness.model import SsnHFLM
from ssn_eval.models.loading import load_model

WEIGHTS = "model.safetensors"


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("identity") / "m"
    models_on_disk.llama(folder)
    return folder


def copy(model: Path, folder: Path) -> Path:
    shutil.copytree(model, folder)
    return folder


def renamed(model: Path, folder: Path, change) -> Path:
    """A copy whose weights are renamed; None leaves a weight out."""
    copy(model, folder)
    weights = {new: tensor for name, tensor in load_file(folder / WEIGHTS).items() if (new := change(name))}
    save_file(weights, folder / WEIGHTS, {"format": "pt"})
    return folder


def test_files_that_are_not_loaded_do_not_change_the_identity(model, tmp_path):
    other = copy(model, tmp_path / "other")
    save_file({"x": torch.zeros(2)}, other / "consolidated.safetensors")
    assert load_model(str(other)).ref.weights == load_model(str(model)).ref.weights


def test_parts_are_those_that_the_index_names(model, tmp_path):
    AutoModelForCausalLM.from_pretrained(model).save_pretrained(tmp_path / "parts", max_shard_size="20KB")
    shutil.copy(model / "tokenizer.json", tmp_path / "parts")
    shutil.copy(model / "tokenizer_config.json", tmp_path / "parts")
    before = load_model(str(tmp_path / "parts")).ref.weights
    save_file({"x": torch.zeros(2)}, tmp_path / "parts/consolidated.safetensors")
    assert load_model(str(tmp_path / "parts")).ref.weights == before
    (tmp_path / "parts/model.safetensors.index.json").write_text("{}")
    with pytest.raises(SsnError):
        load_model(str(tmp_path / "parts"))


@pytest.mark.parametrize(
    "change",
    [
        lambda name: f"_orig_mod.{name}",
        lambda name: f"base_model.model.{name}",
        lambda name: None if ".layers.1." in name else name,
        lambda name: None if "norm" in name else name,
    ],
    ids=["compiled", "peft", "a layer is missing", "norms are missing"],
)
def test_an_incomplete_checkpoint_is_refused_by_both_doors(change, model, tmp_path, capsys):
    broken = renamed(model, tmp_path / "broken", change)
    with pytest.raises(FormatError, match="not a whole model"):
        load_model(str(broken))
    with pytest.raises(SsnError, match="not a whole model"):
        SsnHFLM(str(broken), device="cpu", dtype="float32")
    assert "Traceback" not in capsys.readouterr().err


def test_more_layers_than_the_config_says_are_refused(model, tmp_path):
    short = copy(model, tmp_path / "short")
    config = json.loads((short / "config.json").read_text())
    layers = config["num_hidden_layers"] - 1
    types = {"layer_types": config["layer_types"][:layers]} if config.get("layer_types") else {}
    (short / "config.json").write_text(json.dumps(config | {"num_hidden_layers": layers} | types))
    with pytest.raises(FormatError, match="unknown to the model"):
        load_model(str(short))


class Cache:
    """What lm_eval hands to `set_cache_hook`."""

    def __init__(self, content: dict[str, Any]) -> None:
        self.dbdict = content


def test_a_cache_serves_one_model(model, tmp_path):
    other = tmp_path / "other"
    models_on_disk.llama(other, seed=1)
    content: dict[str, Any] = {}

    def use(folder: Path, **options: Any) -> None:
        SsnHFLM(str(folder), device="cpu", **{"dtype": "float32", **options}).set_cache_hook(Cache(content))

    use(model)
    content["request"] = "reply"
    use(model)
    use(copy(model, tmp_path / "same"))
    for folder, options in ((other, {}), (model, {"dtype": "bfloat16"})):
        with pytest.raises(SsnError, match="another model, dtype or intervention"):
            use(folder, **options)
    content.clear()
    content["request"] = "reply of plain hf"
    with pytest.raises(SsnError, match="does not name"):
        use(model)
