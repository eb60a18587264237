"""Benchmark files from their sources: pinned, checked, whole or not at all; `ssn data list` and `ssn data fetch`."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import source_server
from click.testing import CliRunner, Result
from small_copies import ROWS, multijail, prompt, xsafety_parquet

from ssn_eval.cli import main
from ssn_eval.core.errors import FormatError, MissingInputError
from ssn_eval.prompts.benchmarks import copies, fetching
from ssn_eval.prompts.benchmarks.catalogue import SOURCES, source
from ssn_eval.prompts.benchmarks.loading import load
from ssn_eval.prompts.benchmarks.pins import Checksum, pins
from ssn_eval.prompts.benchmarks.presence import presence

MULTIJAIL = "data/MultiJail.csv"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder, an empty cache, no `SSN_DATA_DIR`."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.delenv("SSN_DATA_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return folder


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, here: Path) -> Iterator[source_server.SourceServer]:
    with source_server.running(monkeypatch) as state:
        yield state


@pytest.fixture
def small(tmp_path: Path, server: source_server.SourceServer, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """A small MultiJail that is pinned and that the server has; its bytes."""
    content = multijail(tmp_path / "small.csv").read_bytes()
    server.offer(source("multijail"), MULTIJAIL, content)
    source_server.pin(monkeypatch, source("multijail"), {MULTIJAIL: content})
    return content


def ssn(*words: str) -> Result:
    return CliRunner().invoke(main, ["data", *words])


def files_below(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def test_the_table_names_whole_commits_and_every_file_that_a_reader_asks_for() -> None:
    assert set(pins()) == set(SOURCES)
    for one in SOURCES.values():
        assert re.fullmatch("[0-9a-f]{40}", one.pin.revision)
        asked = {
            one.files(lang, label, split)[0]
            for lang in one.languages
            for label in one.labels
            for split in one.splits.get(label, (None,))
        }
        assert asked == set(one.pin.files), one.name
        assert all(c is None or re.fullmatch("[0-9a-f]{64}", c.digest) for c in one.pin.files.values())
    known = {name for name, one in pins().items() if all(one.files.values())}
    english = {"jbb_harmful", "harmbench", "strongreject", "orbench_hard", "oktest"}
    assert known == {"multijail", "polyrefuse", "csrt", "xstest"} | english


def test_the_real_multijail_is_the_pinned_one(shared_data: Path) -> None:
    checksum = source("multijail").pin.files[MULTIJAIL]
    assert checksum and checksum.fits(shared_data / "MultiJail.csv")


def test_the_real_english_benchmarks_are_the_pinned_ones_and_have_their_sizes(
    shared_data: Path, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shared_data / "multilingual_refusal"
    if not folder.is_dir():
        pytest.skip("multilingual_refusal is not in the folder of real data")
    monkeypatch.setenv("SSN_DATA_DIR", str(here))
    sizes = {"jbb_harmful": 100, "harmbench": 200, "strongreject": 313, "orbench_hard": 1319, "oktest": 300}
    for name, size in sizes.items():
        one = source(name)
        for path, checksum in one.pin.files.items():
            file = folder / Path(path).name
            assert checksum and checksum.fits(file), path
            copy = here / copies.local_name(one, path)
            copy.parent.mkdir(exist_ok=True)
            copy.symlink_to(file)
        (label,) = one.labels
        prompts = load(one, "en", label)
        assert len(prompts) == len({p.id for p in prompts}) == size, name
        assert presence(one).present == len(one.pin.files)


def test_a_git_checksum_is_what_git_calls_a_file(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"hello\n")
    assert Checksum("git", "ce013625030ba8dba906f756967f9e9ca394464a", 6).fits(tmp_path / "x")
    assert not Checksum("git", "ce013625030ba8dba906f756967f9e9ca394464a", 7).fits(tmp_path / "x")


def test_a_fetched_benchmark_is_read_by_every_door_and_not_asked_for_again(
    here: Path, server: source_server.SourceServer, small: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = ssn("fetch", "multijail", "--json")
    assert done.exit_code == 0, done.output
    cached = copies.cache_folder() / "multijail" / source("multijail").pin.revision / "MultiJail.csv"
    assert json.loads(done.stdout) == {
        "place": copies.cache_folder().as_posix(),
        "fetched": [cached.as_posix()],
        "already_there": 0,
    }
    assert files_below(copies.cache_folder()) == [cached.relative_to(copies.cache_folder()).as_posix()]
    assert cached.read_bytes() == small
    server.asked.clear()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert [p.prompt for p in load(source("multijail"), "th", "harmful")] == [prompt("th", i) for i in range(ROWS)]
    again = ssn("fetch", "multijail", "--json")
    assert json.loads(again.stdout)["already_there"] == 1 and server.asked == []


def test_a_folder_of_fetched_files_is_a_folder_for_ssn_data_dir(
    here: Path, server: source_server.SourceServer, small: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = ssn("fetch", "multijail", "--into", "copy")
    assert done.exit_code == 0 and "SSN_DATA_DIR=copy" in done.stdout
    assert files_below(here) == ["copy/MultiJail.csv"]
    monkeypatch.setenv("SSN_DATA_DIR", "copy")
    server.asked.clear()
    assert len(load(source("multijail"), "th", "harmful")) == ROWS and server.asked == []
    shown = json.loads(ssn("list", "--json").stdout)["multijail"]
    assert (shown["place"], shown["present"], shown["not_as_pinned"]) == ("copy/MultiJail.csv", 1, 0)
    (here / "copy/MultiJail.csv").write_bytes(small + b"\n")
    assert json.loads(ssn("list", "--json").stdout)["multijail"]["not_as_pinned"] == 1
    refused = ssn("fetch", "multijail", "--into", "copy")
    assert refused.exit_code == 2 and "is there already and is not the pinned file" in refused.stderr
    assert (here / "copy/MultiJail.csv").read_bytes() == small + b"\n", "nothing is overwritten"


def test_a_file_with_another_content_is_refused_and_nothing_is_left(
    here: Path, server: source_server.SourceServer, small: bytes
) -> None:
    server.files[next(path for path in server.files if path.startswith("/raw"))] = small.replace(b"th 0", b"th 9")
    done = ssn("fetch", "multijail", "--into", "copy")
    assert done.exit_code == 2
    assert done.stderr.startswith("Error: http") and "is not the file that is pinned: expected sha256" in done.stderr
    assert done.stderr.count("\n") == 1
    assert list(here.iterdir()) == []


def test_a_download_that_breaks_off_leaves_nothing_under_the_name_and_goes_on_from_there(
    here: Path, server: source_server.SourceServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = bytes(range(256)) * 2000
    server.offer(source("multijail"), MULTIJAIL, content)
    source_server.pin(monkeypatch, source("multijail"), {MULTIJAIL: content})
    server.breaks_off_after = 400_000
    done = ssn("fetch", "multijail", "--into", "copy")
    assert done.exit_code == 2 and done.stderr.count("\n") == 1
    (part,) = (here / "copy").iterdir()
    assert part.name.startswith(".MultiJail.csv.") and 0 < (arrived := part.stat().st_size) <= 400_000
    assert ssn("fetch", "multijail", "--into", "copy").exit_code == 0
    assert [wanted for _, wanted in server.asked] == [None, f"bytes={arrived}-"]
    assert files_below(here) == ["copy/MultiJail.csv"]
    assert (here / "copy/MultiJail.csv").read_bytes() == content


@pytest.mark.parametrize("left", [b"something else", b"x" * 100_000])
def test_what_an_older_download_left_does_not_spoil_the_file(
    here: Path, server: source_server.SourceServer, small: bytes, left: bytes
) -> None:
    (here / "copy").mkdir()
    (here / f"copy/.MultiJail.csv.{source('multijail').pin.revision[:12]}.part").write_bytes(left)
    assert ssn("fetch", "multijail", "--into", "copy").exit_code == 0
    assert files_below(here) == ["copy/MultiJail.csv"] and (here / "copy/MultiJail.csv").read_bytes() == small


@pytest.mark.parametrize("name", ["multijail", "xsafety"])
def test_an_unreachable_host_is_one_sentence(here: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for proxy in ("HTTPS_PROXY", "HTTP_PROXY", "https_proxy", "http_proxy"):
        monkeypatch.setenv(proxy, f"http://127.0.0.1:{port}")
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    done = ssn("fetch", name, "--into", "copy")
    assert done.exit_code == 2 and done.stdout == ""
    assert re.fullmatch(r"Error: https://\S+ cannot be reached \(\w+\); check the network, or bring .*\n", done.stderr)
    assert list(here.iterdir()) == []


def test_a_network_that_is_switched_off_is_one_sentence(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    done = ssn("fetch", "csrt")
    assert done.exit_code == 2 and "HF_HUB_OFFLINE switches the network off" in done.stderr


def test_a_file_that_the_source_does_not_have_is_one_sentence(here: Path, server: source_server.SourceServer) -> None:
    done = ssn("fetch", "csrt")
    assert done.exit_code == 2 and "the server answers 404" in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.parametrize(("name", "path"), [("advbench_x", "data/eval/advbench_x_json/th.json"), ("xsafety", "")])
def test_a_file_without_a_known_sha256_is_checked_against_the_list_of_its_commit(
    here: Path, server: source_server.SourceServer, tmp_path: Path, name: str, path: str
) -> None:
    one = source(name)
    if name == "xsafety":
        xsafety_parquet(tmp_path / "x.parquet")
        path, content, lang = *one.pin.files, (tmp_path / "x.parquet").read_bytes(), "zh"
    else:
        content, lang = json.dumps({"safety": ["first", "second"]}).encode(), "th"
    server.offer(one, path, content)
    raw = next(asked for asked in server.files if asked.endswith(path) and "/api/" not in asked)
    server.files[raw] = content[:-1] + b"?"
    with pytest.raises(FormatError, match="is not the file that is pinned: expected (git blob|sha256)"):
        load(one, lang, "harmful")
    assert not [p for p in tmp_path.rglob("*") if p.suffix == ".part"]
    server.files[raw] = content
    assert len(load(one, lang, "harmful")) == (2 if name == "advbench_x" else 5)
    server.files.clear()
    assert load(one, lang, "harmful"), "from the cache"
    if name == "advbench_x":
        with pytest.raises(MissingInputError, match="nor in the cache, and .* was not fetched"):
            load(one, "ja", "harmful")


def test_another_revision_is_fetched_beside_the_pinned_one(here: Path, server: source_server.SourceServer) -> None:
    def text(word: str) -> bytes:
        return f"id,category,csrt\n1,\"['hate']\",{word}\n".encode()

    server.offer(source("csrt"), "data/csrt.csv", text("newer"), revision="main")
    assert [p.prompt for p in load(source("csrt"), "en", "harmful", "main")] == ["newer"]
    server.offer(source("csrt"), "data/csrt.csv", text("newest"), revision="main")
    assert [p.prompt for p in load(source("csrt"), "en", "harmful", "main")] == ["newest"], "a branch can move"
    server.files.clear()
    assert [p.prompt for p in load(source("csrt"), "en", "harmful", "main")] == ["newest"], "offline: what it was"
    with pytest.raises(MissingInputError):
        load(source("csrt"), "en", "harmful")


def test_some_languages_of_a_benchmark_need_only_their_files(here: Path) -> None:
    shown = json.loads(ssn("fetch", "polyrefuse", "--langs", "th", "--print-sources", "--json").stdout)["files"]
    assert len(shown) == 5 and all(row["name"].endswith("_th.json") and len(row["sha256"]) == 64 for row in shown)
    wrong = ssn("fetch", "polyrefuse", "--langs", "thai")
    assert wrong.exit_code == 2 and "Unknown language of polyrefuse 'thai'" in wrong.stderr


def test_the_printed_sources_are_where_the_files_are_and_what_they_are_called(here: Path) -> None:
    shown = ssn("fetch", "multijail", "xsafety", "--print-sources").stdout
    pin = source("multijail").pin
    assert fetching.address(pin, MULTIJAIL) in shown and str(pin.files[MULTIJAIL]) in shown
    assert "as MultiJail.csv" in shown and "as xsafety.parquet" in shown and "SSN_DATA_DIR" in shown
    assert list(here.iterdir()) == []


def test_the_list_says_what_there_is_and_where(here: Path) -> None:
    (here / "data").mkdir()
    (here / "data/csrt.jsonl").write_text("", encoding="utf-8")
    shown = json.loads(ssn("list", "--json").stdout)
    assert set(shown) == set(SOURCES)
    assert shown["multijail"]["place"] is None and shown["multijail"]["licence"] == "MIT"
    assert shown["csrt"]["own_file"] and shown["csrt"]["place"] == "data/csrt.jsonl"
    table = ssn("list").stdout
    assert all(name in table for name in SOURCES) and "not here" in table and "own file" in table


def test_a_data_folder_that_is_none_is_the_same_sentence_everywhere(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSN_DATA_DIR", "gone")
    sentence = "SSN_DATA_DIR is gone, which is no folder; correct it or unset it."
    with pytest.raises(MissingInputError, match=re.escape(sentence)):
        load(source("multijail"), "th", "harmful")
    pairs = ["pairs", "--prompts", "multijail", "--langs", "th", "--replay", "0", "--out", "p.jsonl"]
    for done in (ssn("list"), CliRunner().invoke(main, pairs)):
        assert (done.exit_code, done.stderr) == (2, f"Error: {sentence}\n")
