"""`ssn import --model` and `ssn export --format hf` on a tiny model folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result
from test_cli_model import save_model

from ssn_eval.cli import main
from ssn_eval.core import store
from ssn_eval.core.errors import ParamsError
from ssn_eval.core.neurons import NeuronSet
from ssn_eval.exchange.formats import carrying
from ssn_eval.interventions.hooks import intervene
from ssn_eval.interventions.ops import Intervention, Op
from ssn_eval.models import loading

CHOSEN = NeuronSet.of([(0, "q_proj", 31), (0, "mlp", 3), (0, "mlp", 39), (1, "k_proj", 5), (1, "v_proj", 0)])
IDS = torch.tensor([[3, 4, 5, 6]])


def ssn(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments])


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("exchange") / "model", 0)


@pytest.fixture
def chosen(model: Path, tmp_path: Path) -> Path:
    """A neuron set of that model, imported from SN-Tune's text."""
    geometry = loading.load(loading.ModelSpec(str(model)), device="cpu").ref.geometry
    written, out = tmp_path / "n.txt", tmp_path / "n.json"
    written.write_bytes(carrying.encode(CHOSEN, "sntune", geometry))
    done = ssn("import", written, "--format", "sntune", "--model", model, "--out", out)
    assert done.exit_code == 0, done.output
    return out


def logits(folder: Path) -> torch.Tensor:
    from transformers import AutoModelForCausalLM

    with torch.no_grad():
        return AutoModelForCausalLM.from_pretrained(folder).eval()(IDS).logits


def test_import_names_the_model(model, chosen, tmp_path):
    found = store.load_neurons(chosen)
    assert found.neurons == CHOSEN
    assert found.model == loading.load(loading.ModelSpec(str(model)), device="cpu").ref
    (tmp_path / "high.txt").write_text("{}\n{}\n{0: {32}}\n{}\n{}\n")
    done = ssn("import", tmp_path / "high.txt", "--format", "sntune", "--model", model, "--out", tmp_path / "x.json")
    assert done.exit_code == 2 and "Neuron 32 of layers.0.q_proj" in done.stderr and not (tmp_path / "x.json").exists()


@pytest.mark.parametrize(("op", "factor"), [(None, 0.0), ("scale:3", 3.0)])
def test_hf_is_the_model_under_the_intervention(model, chosen, tmp_path, op, factor):
    out = tmp_path / "baked"
    export = (
        "export",
        chosen,
        "--format",
        "hf",
        "--model",
        model,
        *(("--op", op) if op else ()),
        "--out",
        out,
        "--json",
    )
    for _ in range(2):  # an exported model may be written again
        done = ssn(*export)
        assert done.exit_code == 0, done.output
    loaded = loading.load(loading.ModelSpec(str(model)), device="cpu")
    with torch.no_grad(), intervene(loaded.model, CHOSEN, Op(factor)):
        expected = loaded.model(IDS).logits
    assert torch.allclose(logits(out), expected, atol=1e-5) and not torch.allclose(logits(model), expected, atol=1e-3)
    told = json.loads((out / "ssn.json").read_text())
    assert told["base"] == loaded.ref.to_json() and told["provenance"]["interventions"][0]["neurons"] == len(CHOSEN)
    assert loading.load(loading.ModelSpec(str(out)), device="cpu").ref.weights != loaded.ref.weights
    before = (model / "model.safetensors").read_bytes()
    done = ssn(*export[:-2], model)
    assert done.exit_code == 2 and "no exported model" in done.stderr
    assert (model / "model.safetensors").read_bytes() == before


def test_hf_of_another_model_is_refused(chosen, tmp_path):
    other, out = save_model(tmp_path / "other", 1), tmp_path / "baked"
    done = ssn("export", chosen, "--format", "hf", "--model", other, "--out", out)
    assert done.exit_code == 2 and "another model" in done.stderr and not out.exists()


def test_quantized_weights_are_not_baked(model, tmp_path):
    from types import SimpleNamespace

    from ssn_eval.exchange import baking

    loaded = loading.load(loading.ModelSpec(str(model)), device="cpu")
    loaded.model.config.quantization_config = SimpleNamespace(quant_method="bitsandbytes")
    with pytest.raises(ParamsError, match="bitsandbytes"):
        baking.save(loaded, [Intervention(CHOSEN, Op(0.0))], tmp_path / "baked", {})
    assert not (tmp_path / "baked").exists()
