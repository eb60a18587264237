"""Whatever stands in a file, reading it ends soon, with a value or one sentence (an `SsnError`), and writes nothing."""

from __future__ import annotations

import copy
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from readers import READERS, Reader

from ssn_eval.core.errors import SsnError

EXAMPLES = int(os.environ.get("SSN_FUZZ", "40"))
"""files per test; `make test-slow` asks for many more"""
SECONDS = 3
"""for one file; a hang would take forever, the limit leaves room for a busy machine"""
quick = settings(
    max_examples=EXAMPLES,
    deadline=SECONDS * 1000,
    database=None,
    derandomize=True,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)

NUMBERS = st.one_of(
    st.integers(-3, 30),
    st.sampled_from([2**31, 2**63, 10**9, 10**30, -(10**30), 1e308, -0.0, float("nan"), float("inf")]),
)
TEXTS = st.one_of(
    st.text(max_size=8),
    st.sampled_from(
        ["", "../../etc/passwd", "a\0b", "\ud800", "layers.0.q_proj", "layers.99999999999.mlp", "C:\\x", "en", "."]
    ),
)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)


def check(reader: Reader, content: bytes) -> None:
    """Read it, and look at what is in the folder afterwards."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / reader.file
        path.write_bytes(content)
        try:
            reader.read(path)
        except SsnError as error:
            assert str(error).strip() and "\n" not in str(error).strip()
        assert [p.name for p in Path(name).iterdir()] == [path.name] or reader.file == "ssn.json"
        assert path.read_bytes() == content


def good(reader: Reader) -> bytes:
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / reader.file
        reader.good(path)
        return path.read_bytes()


@pytest.mark.parametrize("name", READERS)
def test_a_good_file_is_read(name, tmp_path):
    reader = READERS[name]
    reader.good(tmp_path / reader.file)
    reader.read(tmp_path / reader.file)


@pytest.mark.parametrize("name", READERS)
def test_any_bytes(name):
    @quick
    @given(st.binary(max_size=200))
    def run(content: bytes) -> None:
        check(READERS[name], content)

    run()


@pytest.mark.parametrize("name", READERS)
def test_a_damaged_file(name):
    """Cut off, with bytes changed, with a piece twice or a piece of rubbish inside."""
    whole = good(READERS[name])

    @quick
    @given(st.data())
    def run(data: st.DataObject) -> None:
        place = data.draw(st.integers(0, len(whole)))
        other = data.draw(st.integers(place, min(len(whole), place + 40)))
        rubbish = data.draw(st.one_of(st.just(b""), st.binary(max_size=9), st.just(whole[place:other] * 2)))
        check(READERS[name], whole[:place] + rubbish + whole[other:])
        check(READERS[name], whole[:place])

    run()


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    for key, inner in (
        value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    ):
        yield from places(inner, (*path, key))


def changed(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    value = copy.deepcopy(value)
    inner = value
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = new
    return value


def dump(value: Any) -> bytes:
    return json.dumps(value).encode("utf-8", "surrogatepass")


@pytest.mark.parametrize("name", [n for n, r in READERS.items() if r.file.endswith((".json", ".jsonl", "params.yaml"))])
def test_well_formed_with_a_value_of_another_kind(name):
    """One value, anywhere in a good file, is anything else: a number too large, a list for a text, a name with `../`."""
    reader = READERS[name]
    whole = good(reader)
    first, _, rest = whole.partition(b"\n") if reader.file.endswith(".jsonl") else (whole, b"", b"")
    value = yaml.safe_load(first) if reader.file == "params.yaml" else json.loads(first)

    @quick
    @given(st.sampled_from(list(places(value))), VALUES)
    def run(place: tuple[Any, ...], new: Any) -> None:
        check(reader, dump(changed(value, place, new)) + b"\n" + rest)

    run()


@pytest.mark.parametrize("name", ["neurons.safetensors", "scores"])
def test_a_safetensors_header_with_another_value(name):
    reader = READERS[name]
    whole = good(reader)
    size = int.from_bytes(whole[:8], "little")
    header = json.loads(whole[8 : 8 + size])
    inner = json.loads(header["__metadata__"]["ssn"])

    @quick
    @given(st.data())
    def run(data: st.DataObject) -> None:
        if data.draw(st.booleans()):
            new = changed(header, data.draw(st.sampled_from(list(places(header)))), data.draw(VALUES))
        else:
            said = changed(inner, data.draw(st.sampled_from(list(places(inner)))), data.draw(VALUES))
            new = changed(header, ("__metadata__", "ssn"), json.dumps(said))
        text = dump(new)
        check(reader, len(text).to_bytes(8, "little") + text + whole[8 + size :])

    run()
