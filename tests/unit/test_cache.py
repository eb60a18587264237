"""The cache of weights: each entry is made once, whole, and `ssn cache` shows and clears it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner
from filelock import FileLock

from ssn_eval.cli import main
from ssn_eval.core import cache, files
from ssn_eval.core.errors import UnknownNameError
from ssn_eval.core.lock import path_of

MAKING = """
import sys, time
from pathlib import Path
from ssn_eval.core import cache, files

def make(place):
    with files.atomic(place) as temporary:
        temporary.mkdir()
        print("making", flush=True)
        time.sleep(float(sys.argv[1]))
        (temporary / "weights").write_text("whole")

print(cache.once("one", make), flush=True)
"""


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SSN_CACHE_DIR", str(tmp_path))
    return tmp_path / "weights"


def entry(name: str, size: int = 10) -> None:
    def make(place: Path) -> None:
        with files.atomic(place) as temporary:
            temporary.mkdir()
            (temporary / "model.safetensors").write_bytes(bytes(size))
            files.write_json(temporary / "ssn.json", {"format": "ssn-baked/1"})

    cache.once(name, make)


def making(root: Path, seconds: float) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(root)}
    command = [sys.executable, "-c", MAKING, str(seconds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def test_two_processes_make_an_entry_once(root: Path, own_cache: Path) -> None:
    processes = [making(root, 0.5) for _ in range(2)]
    printed = [process.communicate(timeout=60)[0] for process in processes]
    assert "".join(printed).count("making") == 1 and all(str(own_cache / "one") in text for text in printed)
    assert (own_cache / "one/weights").read_text() == "whole"


def test_what_a_killed_process_left_is_no_entry_and_is_removed(root: Path, own_cache: Path) -> None:
    killed = making(root, 60)
    assert killed.stdout is not None and killed.stdout.readline() == "making\n"
    killed.kill()
    killed.wait(timeout=60)
    killed.stdout.close()
    assert not cache.entries() and list(own_cache.glob(".one.*.tmp"))
    entry("one")
    assert [e.name for e in cache.entries()] == ["one"] and not list(own_cache.glob(".*.tmp"))


def test_an_entry_that_is_being_made_stays(own_cache: Path) -> None:
    entry("one")
    entry("two")
    with FileLock(path_of(own_cache / "one")):
        removed, kept = cache.clear()
    assert ([e.name for e in removed], [e.name for e in kept]) == (["two"], ["one"])
    with pytest.raises(UnknownNameError, match="Did you mean one"):
        cache.clear(["onee"])


def test_ssn_cache_lists_and_clears() -> None:
    entry("model-suppress-0123", 3 << 20)
    shown = CliRunner().invoke(main, ["cache", "list"])
    assert shown.exit_code == 0 and "model-suppress-0123" in shown.output and "0.00 GiB" in shown.output
    found = json.loads(CliRunner().invoke(main, ["cache", "list", "--json"]).output)["entries"]
    assert found[0]["bytes"] > 3 << 20 and found[0]["kind"] == "ssn-baked/1"
    wrong = CliRunner().invoke(main, ["cache", "clear", "none"])
    assert wrong.exit_code == 2 and "Unknown cached weights" in wrong.output
    cleared = json.loads(CliRunner().invoke(main, ["cache", "clear", "--json"]).output)
    assert len(cleared["removed"]) == 1 and not cache.entries()
    assert CliRunner().invoke(main, ["cache", "list"]).output.startswith("No weights in ")


def test_how_long_ago_an_entry_was_used() -> None:
    now = time.time()
    ages = [cache.age(cache.Entry("a", 1, now - seconds, ""), now) for seconds in (5, 61, 7300, 90000, 200000)]
    assert ages == ["now", "1 minute", "2 hours", "1 day", "2 days"]
