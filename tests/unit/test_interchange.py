"""Foreign formats: what was written is read back, what other tools write is read, and every broken file is one sentence."""

from __future__ import annotations

import ast
import io
import json
import pickle
import random
import re
from pathlib import Path

import pyarrow as pa
import pytest
import torch
from pyarrow import parquet

from ssn_eval.core import origin, store
from ssn_eval.core.errors import (
    EmptySetError,
    FormatError,
    MismatchError,
    MissingInputError,
    ParamsError,
    SsnError,
    UnknownNameError,
)
from ssn_eval.core.neurons import SITES, Geometry, NeuronSet
from ssn_eval.exchange.formats import carrying
from ssn_eval.exchange.formats.carrying import carried, decode, encode

WIDTH = {"q_proj": 16, "k_proj": 8, "v_proj": 8, "o_proj": 16, "mlp": 24}
GEOMETRY = Geometry({f"layers.{i}.{site}": WIDTH[site] for i in range(3) for site in SITES})
ALL = [(layer, site, i) for layer in range(3) for site in SITES for i in range(WIDTH[site])]


def at(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def read(path: Path, content: str | bytes, kind: str, **options) -> NeuronSet:
    return decode(at(path, content), kind, GEOMETRY, **options).neurons


def broken(path: Path, content: str | bytes, kind: str, error: type[SsnError], words: str) -> None:
    """One sentence of that kind, in which the words stand outside the file's name (which has the test's name in it)."""
    with pytest.raises(error) as caught:
        read(path, content, kind)
    message = str(caught.value)
    assert str(path) in message and "\n" not in message
    assert re.search(words, message.replace(str(path), "FILE")), message


def pth(value: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", carrying.READ)
def test_every_set_that_a_format_carries_comes_back(tmp_path, kind):
    rng = random.Random(kind)
    able = [n for n in ALL if n[1] in carrying.SUPPORTED.get(kind, SITES)]
    for size in (1, 2, *(rng.randrange(1, len(able)) for _ in range(20)), len(able)):
        neurons = NeuronSet.of(rng.sample(able, size))
        path = tmp_path / f"n.{kind}"
        if kind == "csv":
            model = origin.ModelRef("m", "a" * 64, "llama", GEOMETRY)
            store.save_neurons(path, store.NeuronFile(neurons, model))
        else:
            path.write_bytes(encode(neurons, kind, GEOMETRY))
            assert path.read_bytes() == encode(NeuronSet.of(reversed(list(neurons))), kind, GEOMETRY)
        found = decode(path, kind, GEOMETRY)
        assert found.neurons == neurons and found.notes == ()


# SN-Tune


def test_sntune_text_suits_the_readers_in_the_wild(tmp_path):
    """They evaluate each line, take every layer for given, and intersect sets."""
    written = encode(NeuronSet.of([(0, "q_proj", 9), (0, "q_proj", 2), (2, "mlp", 5)]), "sntune", GEOMETRY).decode()
    up, down, q, k, v = map(ast.literal_eval, written.splitlines())
    assert up == down == {0: set(), 1: set(), 2: {5}}
    assert q == {0: {2, 9}, 1: set(), 2: set()} and k == v == {0: set(), 1: set(), 2: set()}
    assert written.splitlines()[2] == "{0: {2, 9}, 1: set(), 2: set()}"


@pytest.mark.parametrize(
    "written",
    [
        "{0: {3, 1}, 1: set()}\n{0: {3, 1}}\n{1: {0}}\n{}\n{2: {7}}\n",
        '{"0": [1, 3], "1": []}\r\n{"0": [3, 1]}\r\n{"1": [0]}\r\n{}\r\n{"2": [7]}\r\n',
        "\ufeff{0: {'neuron_3', 'neuron_1'}}\n\n{0: ['neuron_1', 'neuron_3']}\n{1: (0,)}\n{}\n{2: {7}}",
        json.dumps({"ffn_up": {"0": [1, 3]}, "ffn_down": {"0": [1, 3]}, "attn_q": {"1": [0]}, "attn_v": {"2": [7]}}),
        json.dumps({"fwd_up": {"0": [1, 3]}, "fwd_down": {"0": [1, 3]}, "q": {"1": [0]}, "v": {"2": [7]}}, indent=2),
    ],
)
def test_sntune_variants_in_the_wild(tmp_path, written):
    found = decode(at(tmp_path / "n.txt", written), "sntune", GEOMETRY)
    assert found.neurons == NeuronSet.of([(0, "mlp", 1), (0, "mlp", 3), (1, "q_proj", 0), (2, "v_proj", 7)])
    assert found.notes == ()


def test_sntune_named_sections_may_carry_o(tmp_path):
    assert read(tmp_path / "n", '{"attn_o": {"1": [4]}}', "sntune") == NeuronSet.of([(1, "o_proj", 4)])


def test_sntune_takes_the_union_and_says_so(tmp_path):
    found = decode(at(tmp_path / "n", "{0: {1, 2}, 1: {5}}\n{0: {2, 3}}\n{}\n{}\n{}\n"), "sntune", GEOMETRY)
    assert found.neurons == NeuronSet.of([(0, "mlp", 1), (0, "mlp", 2), (0, "mlp", 3), (1, "mlp", 5)])
    assert len(found.notes) == 1 and found.notes[0].startswith("2 mlp neurons were in ffn_up alone and 1 in ffn_down")


FOUR = "{}\n{}\n{}\n{}\n"


@pytest.mark.parametrize(
    ("written", "error", "words"),
    [
        ("{0: {1}}\n{0: {1}}\n{}\n{}\n", FormatError, "SN-Tune"),
        (FOUR + "{0: {1}", FormatError, "broken"),
        (FOUR + "{0: __import__('os').getcwd()}", FormatError, "broken"),
        (FOUR + "{[1]: 2}", FormatError, "broken"),
        (FOUR + "{0: " + "[" * 5000 + "]" * 5000 + "}", FormatError, "broken"),
        (FOUR + "{1, 2}", FormatError, "dict of layers"),
        (FOUR + "{0: 3}", FormatError, "set or list"),
        (FOUR + "{0: 'neuron_3'}", FormatError, "set or list"),
        (FOUR + "{0: {True}}", FormatError, "True"),
        (FOUR + "{0: {1.0}}", FormatError, "1.0"),
        (FOUR + "{0: {-1}}", FormatError, "-1"),
        (FOUR + "{0: {0x" + "f" * 6000 + "}}", FormatError, "huge"),
        (FOUR + "{'x': {1}}", FormatError, "'x'"),
        ("{'0_expert_2': {1}}\n" + FOUR, FormatError, "experts"),
        ('{"gate": {"0": [1]}}', FormatError, "gate"),
        ('{"q": {"0": [1]}, "attn_q": {"0": [2]}}', FormatError, "twice"),
        (b"\xff\xfe\x00", FormatError, "UTF-8"),
        ("", FormatError, "SN-Tune"),
        ("{}\n" + FOUR, EmptySetError, "no neuron"),
        (FOUR + "{0: {16}}", MismatchError, "Neuron 16"),
        (FOUR + "{3: {1}}", MismatchError, "3 layers"),
        (FOUR + "{0: {8}}", MismatchError, "once per query head"),
        ("{}\n{}\n{}\n{1: {15}}\n{}\n", MismatchError, "once per query head"),
        ("{0: {24}}\n" + FOUR, MismatchError, "Neuron 24 of layers.0.mlp"),
    ],
)
def test_sntune_broken(tmp_path, written, error, words):
    broken(tmp_path / "n.txt", written, "sntune", error, words)


# LAPE


def lape(*languages: list[list[int]]) -> bytes:
    return pth([[torch.tensor(indices).long() for indices in layers] for layers in languages])


def test_lape_is_a_list_of_languages_of_layers():
    made = torch.load(
        io.BytesIO(encode(NeuronSet.of([(1, "mlp", 7), (1, "mlp", 2)]), "lape", GEOMETRY)), weights_only=True
    )
    assert len(made) == 1 and [t.tolist() for t in made[0]] == [[], [2, 7], []]
    assert all(t.dtype == torch.int64 for t in made[0])


def test_lape_language(tmp_path):
    path = at(tmp_path / "n.pth", lape([[1], [], [2, 23]], [[], [], [5]]))
    assert decode(path, "lape", GEOMETRY, language=0).neurons == NeuronSet.of(
        [(0, "mlp", 1), (2, "mlp", 2), (2, "mlp", 23)]
    )
    assert decode(path, "lape", GEOMETRY, language=1).neurons == NeuronSet.of([(2, "mlp", 5)])
    with pytest.raises(ParamsError, match="2 languages"):
        decode(path, "lape", GEOMETRY)
    with pytest.raises(ParamsError, match="no --language 2"):
        decode(path, "lape", GEOMETRY, language=2)


class Bad:
    """A pickle that runs code when it is read carelessly."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def test_lape_runs_nothing(tmp_path):
    ran = tmp_path / "ran"
    for content in (pth([Bad(ran)]), pickle.dumps([Bad(ran)])):
        with pytest.raises(FormatError, match="tensors and lists alone"):
            read(tmp_path / "n.pth", content, "lape")
    assert not ran.exists()


@pytest.mark.parametrize(
    ("content", "error", "words"),
    [
        (b"", FormatError, "LAPE"),
        (b"not a pickle", FormatError, "LAPE"),
        (lape([[1], [], []])[:-200], FormatError, "LAPE"),
        (pth({"en": [torch.tensor([1])]}), FormatError, "dict"),
        (pth("text"), FormatError, "str"),
        (pth([torch.tensor([1, 2, 3])]), FormatError, "Tensor"),
        (pth([[[1], [2], [3]]]), FormatError, "layer 0"),
        (pth([[torch.zeros(2, 2).long()] * 3]), FormatError, "layer 0"),
        (pth([[torch.tensor([0.5])] * 3]), FormatError, "float32"),
        (pth([[torch.ones(24).bool()] * 3]), FormatError, "bool"),
        (pth([[torch.empty(3, device="meta").long()] * 3]), FormatError, "layer 0"),
        (pth([]), EmptySetError, "no language"),
        (lape([[], [], []]), EmptySetError, "no neuron"),
        (lape([[1], []]), MismatchError, "2 layers"),
        (lape([[1], [], [24]]), MismatchError, "Neuron 24"),
        (lape([[-1], [], []]), FormatError, "-1"),
    ],
)
def test_lape_broken(tmp_path, content, error, words):
    broken(tmp_path / "n.pth", content, "lape", error, words)


def test_lape_empty_layers_may_be_float(tmp_path):
    content = pth([[torch.tensor([]), torch.tensor([4], dtype=torch.int32), torch.tensor([])]])
    assert read(tmp_path / "n.pth", content, "lape") == NeuronSet.of([(1, "mlp", 4)])


# rows


def rows(*values: dict) -> str:
    return "\n".join(map(json.dumps, values)) + "\n"


def test_jsonl_matrices_of_the_mlp_are_one_neuron(tmp_path):
    written = rows(
        {"layer": 0, "matrix": "up_proj", "index": 3, "score": 0.5},
        {"layer": 0, "matrix": "gate_proj", "index": 3},
        {"layer": 0, "matrix": "mlp.down_proj", "index": 4},
        {"layer": 1, "matrix": "mlp", "index": 3},
        {"layer": 2, "matrix": "self_attn.o_proj", "index": 1},
        {"layer": 2, "matrix": "k_proj", "index": 1},
    )
    found = decode(at(tmp_path / "n.jsonl", written), "jsonl", GEOMETRY)
    expected = [(0, "mlp", 3), (0, "mlp", 4), (1, "mlp", 3), (2, "o_proj", 1), (2, "k_proj", 1)]
    assert found.neurons == NeuronSet.of(expected)
    assert found.notes == ("3 rows of gate_proj, up_proj and down_proj name 2 of the mlp neurons.",)


def test_jsonl_scores():
    import numpy as np

    neurons = NeuronSet.of([(0, "q_proj", 1), (1, "mlp", 2)])
    scores = {"layers.0.q_proj": np.arange(16, dtype=np.float32), "layers.1.mlp": np.arange(24, dtype=np.float32) / 4}
    made = [json.loads(line) for line in encode(neurons, "jsonl", GEOMETRY, scores).decode().splitlines()]
    assert made == [
        {"layer": 0, "matrix": "q_proj", "index": 1, "score": 1.0},
        {"layer": 1, "matrix": "mlp", "index": 2, "score": 0.5},
    ]
    assert "score" not in encode(neurons, "jsonl", GEOMETRY).decode()
    with pytest.raises(MismatchError, match=r"layers\.1\.mlp"):
        encode(neurons, "jsonl", GEOMETRY, {"layers.0.q_proj": scores["layers.0.q_proj"]})


def test_jsonl_threshold(tmp_path):
    written = rows(*({"layer": 0, "matrix": "q_proj", "index": i, "score": i / 4} for i in range(4)))
    assert read(tmp_path / "n", written, "jsonl", min_score=0.5) == NeuronSet.of([(0, "q_proj", 2), (0, "q_proj", 3)])
    with pytest.raises(FormatError, match=r"line 1 has no score"):
        read(tmp_path / "n", rows({"layer": 0, "matrix": "q_proj", "index": 0}), "jsonl", min_score=0.5)


@pytest.mark.parametrize(
    ("written", "error", "words"),
    [
        ("{\n", FormatError, "line 1"),
        (rows({"layer": 0, "matrix": "mlp", "index": 1}) + "[1]\n", FormatError, "line 2"),
        (rows({"layer": 0, "matrix": "q_prj", "index": 1}), UnknownNameError, "line 1.*Did you mean.*q_proj"),
        (rows({"layer": 0, "matrix": ["q_proj"], "index": 1}), UnknownNameError, "line 1"),
        (rows({"layer": 0, "index": 1}), UnknownNameError, "matrix"),
        (rows({"layer": 0, "matrix": "mlp"}), FormatError, "index"),
        (rows({"layer": "0", "matrix": "mlp", "index": 1}), FormatError, "layer"),
        (rows({"layer": 0, "matrix": "mlp", "index": 1.5}), FormatError, "1.5"),
        ('{"layer": 0, "matrix": "mlp", "index": ' + "9" * 5000 + "}\n", FormatError, "line 1"),
        (rows({"layer": 0, "matrix": "k_proj", "index": 8}), MismatchError, "Neuron 8"),
        ("\n", EmptySetError, "no neuron"),
    ],
)
def test_jsonl_broken(tmp_path, written, error, words):
    broken(tmp_path / "n.jsonl", written, "jsonl", error, words)


def table(**columns: list) -> bytes:
    buffer = io.BytesIO()
    parquet.write_table(pa.table(columns), buffer)
    return buffer.getvalue()


def test_parquet_has_the_columns_of_csv():
    made = parquet.read_table(io.BytesIO(encode(NeuronSet.of([(1, "mlp", 2), (0, "q_proj", 3)]), "parquet", GEOMETRY)))
    assert made.to_pydict() == {"layer": [0, 1], "site": ["q_proj", "mlp"], "index": [3, 2]}


@pytest.mark.parametrize(
    ("content", "error", "words"),
    [
        (b"PAR1", FormatError, "no parquet file"),
        (table(layer=[0], site=["mlp"], index=[1])[:-3], FormatError, "no parquet file"),
        (table(layer=[0], site=["mlp"]), FormatError, "index"),
        (table(layer=[0.0], site=["mlp"], index=[1]), FormatError, "0.0"),
        (table(layer=[0, None], site=["mlp", "mlp"], index=[1, 2]), FormatError, "None"),
        (table(layer=[0], site=[None], index=[1]), UnknownNameError, "site"),
        (table(layer=[0], site=["mpl"], index=[1]), UnknownNameError, "Did you mean mlp"),
        (table(layer=[0], site=["mlp"], index=[24]), MismatchError, "Neuron 24"),
        (encode(NeuronSet(frozenset()), "parquet", GEOMETRY), EmptySetError, "no neuron"),
    ],
)
def test_parquet_broken(tmp_path, content, error, words):
    broken(tmp_path / "n.parquet", content, "parquet", error, words)


@pytest.mark.parametrize(
    ("written", "error", "words"),
    [
        ("", FormatError, "columns"),
        ("layer,site\n0,mlp\n", FormatError, "index"),
        ("layer,site,index,index\n0,mlp,1,2\n", FormatError, "once"),
        ("layer,site,index\n0,mlp\n", FormatError, "None"),
        ("layer,site,index\n0,mlp,-1\n", FormatError, "-1"),
        ("layer,site,index\n0,mlp,²\n", FormatError, "²"),
        ('layer,site,index\n0,"mlp,1\n', FormatError, "no csv"),
        ("layer,site,index\n0,up_proj,1\n", UnknownNameError, "up_proj"),
        ("layer,site,index\n", EmptySetError, "no neuron"),
    ],
)
def test_csv_broken(tmp_path, written, error, words):
    broken(tmp_path / "n.csv", written, "csv", error, words)


# all of them


def test_what_a_format_has_no_place_for():
    mixed = NeuronSet.of([(0, "mlp", 1), (0, "o_proj", 2), (1, "o_proj", 3), (1, "q_proj", 3)])
    with pytest.raises(ParamsError, match="sntune has no place for 2 o_proj neurons out of 4"):
        carried(mixed, "sntune")
    with pytest.raises(ParamsError, match="lape has no place for 2 o_proj, 1 q_proj neurons"):
        carried(mixed, "lape")
    assert carried(mixed, "sntune", drop=True) == NeuronSet.of([(0, "mlp", 1), (1, "q_proj", 3)])
    assert carried(mixed, "lape", drop=True) == NeuronSet.of([(0, "mlp", 1)])
    assert carried(mixed, "jsonl") == carried(mixed, "parquet") == mixed
    with pytest.raises(EmptySetError, match="lape"):
        carried(NeuronSet.of([(0, "o_proj", 2)]), "lape", drop=True)
    with pytest.raises(EmptySetError):
        carried(NeuronSet(frozenset()), "parquet")
    for kind in ("sntune", "lape"):
        with pytest.raises(ParamsError, match=r"1 mlp\.3 neurons"):  # one expert of several
            carried(NeuronSet.of([(0, "mlp.3", 2)]), kind)


def test_missing_files_and_unknown_formats(tmp_path):
    for kind in carrying.READ:
        with pytest.raises(MissingInputError, match="No file"):
            decode(tmp_path / "no", kind, GEOMETRY)
    with pytest.raises(UnknownNameError, match="sntune"):
        decode(at(tmp_path / "n", "x"), "sntun", GEOMETRY)
    with pytest.raises(UnknownNameError, match="jsonl"):
        encode(NeuronSet.of(ALL), "json", GEOMETRY)


@pytest.mark.parametrize("kind", carrying.WRITTEN)
def test_damage_is_refused_or_harmless(tmp_path, kind):
    whole = encode(NeuronSet.of([(0, "mlp", 1), (1, "mlp", 20)]), kind, GEOMETRY)
    rng = random.Random(kind)
    refused = 0
    for _ in range(150):
        damaged = bytearray(whole)
        damaged[rng.randrange(len(damaged))] ^= rng.randrange(1, 256)
        try:
            decode(at(tmp_path / "n", bytes(damaged)), kind, GEOMETRY)
        except SsnError as error:
            refused += 1
            assert "\n" not in str(error)
    assert refused
