"""Files: round trips, equal bytes, and damage of every kind refused in one sentence."""

from __future__ import annotations

import json

import numpy as np
import pytest

from ssn_eval.core import store
from ssn_eval.core.errors import FormatError, MismatchError, MissingInputError, ParamsError, SsnError
from ssn_eval.core.neurons import Geometry, NeuronSet
from ssn_eval.core.origin import ModelRef
from ssn_eval.core.store import NeuronFile, ScoreFile

WIDTHS = {"layers.0.q_proj": 4, "layers.0.mlp": 6, "layers.1.q_proj": 4, "layers.1.mlp": 6}
MODEL = ModelRef("org/model", "ab" * 32, "llama", Geometry(WIDTHS), "main")
NEURONS = NeuronSet.of([(0, "q_proj", 1), (1, "mlp", 5)])
SCORES = {key: np.linspace(0, 1, width, dtype=np.float32) for key, width in WIDTHS.items()}


@pytest.mark.parametrize("ending", ["json", "safetensors"])
def test_neurons_round_trip_with_equal_bytes(tmp_path, ending):
    file = NeuronFile(NEURONS, MODEL, {"seed": 1, "p": 3.0, "b": "x", "a": [1]})
    for name in "ab":
        store.save_neurons(tmp_path / f"{name}.{ending}", file)
    assert store.load_neurons(tmp_path / f"a.{ending}") == file
    assert (tmp_path / f"a.{ending}").read_bytes() == (tmp_path / f"b.{ending}").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"a.{ending}", f"b.{ending}"]


def test_scores_round_trip(tmp_path):
    store.save_scores(tmp_path / "s.safetensors", ScoreFile(SCORES, MODEL, {"seed": 0}))
    found = store.load_scores(tmp_path / "s.safetensors")
    assert found.model == MODEL and found.provenance == {"seed": 0}
    assert all(np.array_equal(found.scores[k], v) and found.scores[k].dtype == np.float32 for k, v in SCORES.items())


def test_csv_is_for_people(tmp_path):
    store.save_neurons(tmp_path / "n.csv", NeuronFile(NEURONS, MODEL))
    assert (tmp_path / "n.csv").read_text() == "layer,site,index\n0,q_proj,1\n1,mlp,5\n"
    with pytest.raises(ParamsError, match="ending"):
        store.save_neurons(tmp_path / "n.pkl", NeuronFile(NEURONS, MODEL))


def test_nan_is_not_written(tmp_path):
    with pytest.raises(FormatError, match=r"layers\.1\.mlp"):
        store.save_scores(
            tmp_path / "s.safetensors", ScoreFile(SCORES | {"layers.1.mlp": np.full(6, np.nan, np.float32)}, MODEL)
        )
    assert not list(tmp_path.iterdir())


def test_every_truncation_and_many_flips_are_refused_or_harmless(tmp_path):
    path = tmp_path / "n.safetensors"
    store.save_neurons(path, NeuronFile(NEURONS, MODEL))
    whole = path.read_bytes()
    for cut in range(0, len(whole) - 1, 7):
        path.write_bytes(whole[:cut])
        with pytest.raises(FormatError):
            store.load_neurons(path)
    for place in range(0, len(whole), 3):
        damaged = bytearray(whole)
        damaged[place] ^= 0x55
        path.write_bytes(bytes(damaged))
        try:
            store.load_neurons(path)
        except SsnError as error:
            assert "\n" not in str(error)


@pytest.mark.parametrize(
    "edit",
    [
        {"format": "other"},
        {"neurons": {"layers.0.q_proj": ["x"]}},
        {"neurons": {"layers.0.q_proj": [True]}},
        {"neurons": {"nonsense": [1]}},
        {"neurons": [1]},
        {"model": {}},
        {"model": {"id": "a", "weights_sha256": "b", "model_type": "c", "geometry": {"layers": "x"}}},
    ],
)
def test_tampered_json(tmp_path, edit):
    path = tmp_path / "n.json"
    store.save_neurons(path, NeuronFile(NEURONS, MODEL))
    path.write_text(json.dumps(json.loads(path.read_text()) | edit))
    with pytest.raises(FormatError):
        store.load_neurons(path)


def test_missing_broken_and_out_of_range(tmp_path):
    with pytest.raises(MissingInputError):
        store.load_neurons(tmp_path / "none.json")
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(FormatError, match="not valid JSON"):
        store.load_neurons(tmp_path / "broken.json")
    store.save_neurons(tmp_path / "n.json", NeuronFile(NeuronSet.of([(0, "q_proj", 4)]), MODEL))
    with pytest.raises(MismatchError, match="does not exist"):
        store.load_neurons(tmp_path / "n.json")


def test_another_model_is_refused():
    MODEL.refuse_other(ModelRef("elsewhere/copy", MODEL.weights, "llama", MODEL.geometry), "The set")
    with pytest.raises(MismatchError, match="same shape, another model"):
        MODEL.refuse_other(ModelRef("x", "cd" * 32, "llama", MODEL.geometry), "The set")
    with pytest.raises(MismatchError, match="belongs to org/model"):
        MODEL.refuse_other(ModelRef("x", MODEL.weights, "llama", Geometry({"layers.0.mlp": 6})), "The set")
