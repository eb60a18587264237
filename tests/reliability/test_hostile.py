"""Files made to do harm are refused: bombs, paths that lead elsewhere, links, pickles that run code."""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import resource
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from readers import GEOMETRY, MODEL, NEURONS, ROOT

from ssn_eval.core import files, origin, params, store
from ssn_eval.core.errors import FormatError, MissingInputError, ParamsError, SsnError
from ssn_eval.core.neurons import Geometry, NeuronSet
from ssn_eval.exchange.formats import carrying
from ssn_eval.judges import calibration
from ssn_eval.models import loading, resuming
from ssn_eval.prompts.prompt import select_prompts
from ssn_eval.prompts.reading import read_prompts
from ssn_eval.training.adapters.folder import load_adapter


def safetensors(header: object, size: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if size is None else size).to_bytes(8, "little") + text


def neuron_file(**model: Any) -> dict[str, Any]:
    value = {"format": store.NEURONS_FORMAT, "model": MODEL.to_json(), "neurons": {}, "provenance": {}}
    return value | {"model": value["model"] | model}


@pytest.mark.parametrize("size", [33 << 20, 1 << 40, 2**64 - 1])
def test_a_header_that_claims_to_be_huge(tmp_path, size):
    path = tmp_path / "s.safetensors"
    path.write_bytes(safetensors(b"{}", size))
    for read in (store.load_scores, store.load_neurons):
        with pytest.raises(FormatError, match="header"):
            read(path)


def test_a_tensor_that_claims_to_be_huge(tmp_path):
    path = tmp_path / "s.safetensors"
    tensor = {"dtype": "F32", "shape": [10**12], "data_offsets": [0, 4 * 10**12]}
    path.write_bytes(safetensors({"layers.0.q_proj": tensor}))
    with pytest.raises(FormatError):
        store.load_scores(path)


@pytest.mark.parametrize(
    "geometry",
    [
        {"layers": 10**12, "sites": {"q_proj": 4}},
        {"layers": 1000, "sites": {"mlp": {"experts": 10**6, "width": 4}}},
        {"layers": 1, "sites": {"mlp": {"experts": 10**15, "width": 4}}},
        {"layers": 1, "sites": {"q_proj": 10**15}},
        {"layers": 1, "sites": {"q_proj": -1}},
        {"layers": -1, "sites": {}},
        {"layers": "9" * 5000, "sites": {}},
    ],
)
def test_a_model_of_impossible_size(tmp_path, geometry):
    path = tmp_path / "s.json"
    path.write_text(json.dumps(neuron_file(geometry=geometry)))
    with pytest.raises(FormatError, match="geometry"):
        store.load_neurons(path)


def limited(code: str, *words: str) -> str:
    """Run code that may take 2 GB and 30 seconds, and give what it prints."""

    def limits() -> None:
        resource.setrlimit(resource.RLIMIT_DATA, (2 << 30, 2 << 30))

    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", code, *words]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=30, preexec_fn=limits, env=environment, check=False
    )
    return done.stdout + done.stderr


def test_a_gold_file_that_unpacks_to_gigabytes(tmp_path):
    path = tmp_path / "gold.jsonl.gz"
    with gzip.GzipFile(path, "wb", compresslevel=1) as handle:
        for _ in range(17):
            handle.write(b" " * (64 << 20))
    code = "import sys; from pathlib import Path; from ssn_eval.judges.calibration import read_gold\n"
    code += "try: read_gold(Path(sys.argv[1]))\nexcept Exception as error: print(type(error).__name__, error)"
    assert "FormatError" in limited(code, str(path)) and path.stat().st_size < 20 << 20


def test_yaml_that_multiplies_itself(tmp_path):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
    path = tmp_path / "params.yaml"
    path.write_text("\n".join([*lines, "model: organism", "languages: *a11", "models: {organism: {pretrained: *a11}}"]))
    code = "import sys; from pathlib import Path; from ssn_eval.core.params import load\n"
    code += "try: load(Path(sys.argv[1]))\nexcept Exception as error: print(type(error).__name__, str(error)[:200])"
    assert "ParamsError" in limited(code, str(path))


class Harm:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (os.system, (f"touch {self.path}",))


def test_no_pickle_runs(tmp_path):
    mark = tmp_path / "mark"
    assert pickle.loads(pickle.dumps(Harm(mark))) == 0 and mark.is_file(), "the test's own pickle does its harm"
    mark.unlink()
    buffer = io.BytesIO()
    torch.save([[Harm(mark)]], buffer)
    bare = [pickle.dumps(Harm(mark)), pickle.dumps([[Harm(mark)]], protocol=2), buffer.getvalue()]
    for n, content in enumerate(bare):
        path = tmp_path / f"{n}.pth"
        path.write_bytes(content)
        with pytest.raises(FormatError):
            carrying.decode(path, "lape", GEOMETRY)
    for name in ("set.json", "set.safetensors", "scores.safetensors"):
        (tmp_path / name).write_bytes(bare[0])
        with pytest.raises(FormatError):
            (store.load_scores if "scores" in name else store.load_neurons)(tmp_path / name)
    assert not mark.exists()


def test_no_pickled_weights_and_no_pickled_adapter_are_loaded(tmp_path):
    from models_on_disk import llama

    mark, folder = tmp_path / "mark", tmp_path / "model"
    model = llama(folder)
    (folder / "model.safetensors").unlink()
    torch.save({"x": Harm(mark)}, folder / "pytorch_model.bin")
    with pytest.raises(SsnError):
        loading.load(loading.ModelSpec(str(folder)), device="cpu")
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text('{"peft_type": "LORA", "r": 1, "target_modules": ["q_proj"]}')
    torch.save({"x": Harm(mark)}, adapter / "adapter_model.bin")
    with pytest.raises(MissingInputError, match="pickles are not read"):
        load_adapter(model, adapter, MODEL, other_weights=True)
    assert not mark.exists()


def test_a_tensor_that_repeats_one_number_without_end(tmp_path):
    path = tmp_path / "n.pth"
    long = torch.zeros(1, dtype=torch.int64).expand(10**11)
    torch.save([[long, torch.tensor([1])]], path)
    assert path.stat().st_size < 10_000
    with pytest.raises(FormatError, match="more than any model"):
        carrying.decode(path, "lape", GEOMETRY)


def test_an_archive_that_unpacks_to_gigabytes(tmp_path):
    path = tmp_path / "n.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("n/data.pkl", pickle.dumps([]))
        archive.writestr("n/data/0", b"\0" * (200 << 20))
    with pytest.raises(FormatError, match="unpacks to"):
        carrying.decode(path, "lape", GEOMETRY)


@pytest.mark.parametrize("kind", ["rows", "text"])
def test_a_table_that_unpacks_to_gigabytes(tmp_path, kind):
    import pyarrow as pa
    from pyarrow import parquet

    rows = 20_000_000 if kind == "rows" else 5000
    site = "q_proj" if kind == "rows" else "q" * (2 << 20)
    columns = {
        "layer": pa.array(np.zeros(rows, np.int32)),
        "site": pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), pa.array([site])),
        "index": pa.array(np.zeros(rows, np.int64)),
    }
    path = tmp_path / "n.parquet"
    parquet.write_table(pa.table(columns), path, compression="zstd")
    assert path.stat().st_size < 1 << 20
    code = (
        "import sys; from pathlib import Path; from ssn_eval.exchange.formats import carrying; from ssn_eval.core.neurons import Geometry\n"
        "try: carrying.decode(Path(sys.argv[1]), 'parquet', Geometry({'layers.0.q_proj': 4}))\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    assert "FormatError" in limited(code, str(path))


@pytest.mark.parametrize(
    "name", ["../../escape", "..", "/etc/escape", "a/b", "a\\b", "C:escape", "con", "aux", "nul", "a\0b", ""]
)
def test_a_preset_whose_name_leads_elsewhere(tmp_path, name):
    """A preset's name becomes a file's."""
    import yaml

    settings = yaml.safe_load((ROOT / "params.yaml").read_text())
    settings["targets"] = {name: {"from": "ss"}}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(settings))
    with pytest.raises(ParamsError, match="name"):
        params.load(tmp_path / "params.yaml")


@pytest.mark.parametrize("language", ["../../escape", "..", "/etc", "th/../../x"])
def test_a_language_whose_name_leads_elsewhere(tmp_path, language):
    path = tmp_path / "p.jsonl"
    path.write_text(json.dumps({"id": "a", "lang": language, "label": "harmful", "prompt": "p"}))
    with pytest.raises(SsnError, match="language"):
        read_prompts(path)
    with pytest.raises(SsnError, match="language"):
        select_prompts([], lang=language, label="harmful")


def test_names_inside_files_are_not_paths(tmp_path):
    """An id or a site with `../` is only a text, or refused."""
    path = tmp_path / "p.jsonl"
    path.write_text(json.dumps({"id": "../../x", "lang": "th", "label": "harmful", "prompt": "p"}))
    assert read_prompts(path)[0].id == "../../x"
    for key in ("../../x", "layers.0.../../x", "layers.0.q_proj/../x"):
        value = neuron_file() | {"neurons": {key: [1]}}
        (tmp_path / "s.json").write_text(json.dumps(value))
        with pytest.raises(FormatError, match="site"):
            store.load_neurons(tmp_path / "s.json")


def outside(tmp_path: Path) -> Path:
    folder = tmp_path / "precious"
    (folder / "checkpoint-1").mkdir(parents=True)
    (folder / "thesis.txt").write_text("mine")
    (folder / "checkpoint-1" / "notes.txt").write_text("mine")
    return folder


def test_a_link_is_replaced_and_what_it_points_to_stays(tmp_path):
    folder = outside(tmp_path)
    file, tree = tmp_path / "out.json", tmp_path / "out"
    file.symlink_to(folder / "thesis.txt")
    tree.symlink_to(folder, target_is_directory=True)
    store.save_neurons(file, store.NeuronFile(NEURONS, MODEL))
    with files.atomic(tree) as temporary:
        temporary.mkdir()
    assert not file.is_symlink() and not tree.is_symlink()
    assert (folder / "thesis.txt").read_text() == "mine" and (folder / "checkpoint-1" / "notes.txt").is_file()


def test_a_link_in_place_of_a_work_folder_is_refused(tmp_path):
    folder, work = outside(tmp_path), tmp_path / ".work-ssn"
    work.symlink_to(folder, target_is_directory=True)
    with pytest.raises(ParamsError, match="link"), resuming.session(work, "x"):
        pass
    assert (folder / "checkpoint-1" / "notes.txt").is_file() and not (folder / "fingerprint").exists()


def test_a_link_in_place_of_a_temporary_name_is_not_followed(tmp_path):
    folder, out = outside(tmp_path), tmp_path / "out.json"
    (tmp_path / f".out.json.{os.getpid()}.tmp").symlink_to(folder / "thesis.txt")
    files.write_text(out, "new")
    assert out.read_text() == "new" and (folder / "thesis.txt").read_text() == "mine"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_does_not_hang(tmp_path):
    path = tmp_path / "set.json"
    os.mkfifo(path)
    for read in (store.load_neurons, read_prompts, params.load, calibration.read_gold):
        with pytest.raises(MissingInputError):
            read(path)


def test_what_a_set_says_of_another_model_is_not_believed(tmp_path):
    """Indices are checked against the shape that the file claims, and the shape against the live model."""
    value = neuron_file() | {"neurons": {"layers.0.q_proj": [10**9]}}
    (tmp_path / "s.json").write_text(json.dumps(value))
    with pytest.raises(SsnError, match="does not exist"):
        store.load_neurons(tmp_path / "s.json")
    wide: Mapping[str, int] = dict.fromkeys(GEOMETRY.widths, 10**5)
    liar = origin.ModelRef(MODEL.id, MODEL.weights, MODEL.model_type, Geometry(wide))
    found = store.NeuronFile(NeuronSet.from_keys({"layers.0.q_proj": [99_999]}), liar)
    with pytest.raises(SsnError, match="belongs to"):
        found.model.refuse_other(MODEL, "it")
