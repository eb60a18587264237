"""Every example of every help text, and every `ssn`, `lm_eval` and `dvc` line of the README, does what it says.

They run as they stand, in a folder with small files of the names that they use (`example_files.py`). A command without an
example fails in tests/unit/test_cli_group.py; one that names a file which is not there fails here.
"""

from __future__ import annotations

import glob
import json
import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import example_files
import pytest
from click.testing import CliRunner

from ssn_eval.cli import main, output
from ssn_eval.cli.group import examples
from ssn_eval.core.files import is_portable

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
pytestmark = pytest.mark.usefixtures("own_tasks_only")
PROGRAMS = ("ssn", "lm_eval", "dvc", "make")
UNRUN = {
    "ssn find": "scores whole benchmarks: tests/integration/test_find.py runs it, small",
    "ssn harden": "needs held-out prompts of whole benchmarks: tests/integration/test_harden.py runs it, small",
    "ssn robustness": "scores whole benchmarks: tests/integration/test_robustness.py runs it, small",
    "ssn frontier": "trains organisms and sweeps methods: tests/integration/test_frontier_sweep.py runs it, small",
    "ssn claims": "runs the whole pipeline per seed: tests/pipeline/test_dvc.py runs it, small",
    "ssn pathway": "needs neurons that act together: tests/integration/test_acting.py runs it, small",
    "ssn push": "needs a hub: tests/integration/test_push.py pushes to one on loopback",
    "ssn cache clear": "removes this user's cache: tests/unit/test_cache.py runs it on one of its own",
    "make demo": "the whole default run, which takes minutes; it is what the pipeline test runs small",
    "make test": "is this",
}
"""beginning of a line → why it is not run here"""
PLACES = ("project/params.yaml",)
"""files whose purpose is to say where something lies on this machine: the model folder of a project"""
QUICK = ("--device", "cpu", "--limit", "1", "--gen_kwargs", "max_gen_toks=8")
"""added to lm_eval's lines, whose untrained model would talk on for 512 tokens"""


def of_help(group: click.Group) -> Iterator[str]:
    for command in group.commands.values():
        yield from of_help(command) if isinstance(command, click.Group) else examples(command)


def of_readme() -> Iterator[str]:
    """The commands of the shell blocks; a trailing comment is no part of them."""
    for block in re.findall(r"^```sh\n(.*?)^```", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words and words[0] in PROGRAMS:
                yield shlex.join(words)


ALL = [*dict.fromkeys([*(shlex.join(shlex.split(line)) for line in of_help(main)), *of_readme()])]
RUN = [line for line in ALL if not line.startswith(tuple(UNRUN))]


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """Made once; every example gets a copy."""
    folder = tmp_path_factory.mktemp("examples")
    with pytest.MonkeyPatch.context() as here:
        here.chdir(folder)
        example_files.make_all()
    return folder


def test_there_is_much_to_run_and_no_reason_without_a_line():
    assert len(RUN) > 10 and sum(line.startswith("lm_eval") for line in RUN) >= 2
    assert all(line.split()[0] in ("ssn", "lm_eval") for line in RUN), "say in UNRUN why it is not run"
    for beginning in UNRUN:
        assert any(line.startswith(beginning) for line in ALL), f"{beginning} is no example any more"


@pytest.mark.parametrize("line", [line for line in RUN if line.startswith("ssn")], ids=str)
def test_an_example_at_a_terminal(line, made, tmp_path, monkeypatch):
    """80 columns wide; what it writes can be written anywhere."""
    here = copied(made, tmp_path, monkeypatch)
    monkeypatch.setattr(output, "is_terminal", lambda: True)
    shown = CliRunner(env={"COLUMNS": "80"}).invoke(main, words_of(line))
    assert shown.exit_code == 0, f"{shown.output} {shown.exception!r}: does example_files.py make what it needs?"
    drawn = [part for part in shown.stdout.splitlines() if set(part) & set("─━│┃")]
    assert all(len(part) <= 80 for part in drawn), "a table that does not fit"
    look_at_what_was_written(here, made)


@pytest.mark.parametrize("line", [line for line in RUN if line.startswith("ssn")], ids=str)
def test_an_example_for_a_program(line, made, tmp_path, monkeypatch):
    """One JSON object on stdout and, with `--quiet`, nothing on stderr."""
    copied(made, tmp_path, monkeypatch)
    told = CliRunner().invoke(main, [*words_of(line), "--json", "--quiet"])
    assert told.exit_code == 0, told.output
    assert told.stderr == "" and told.stdout.count("\n") == 1
    assert isinstance(json.loads(told.stdout), dict)


@pytest.mark.parametrize("line", [line for line in RUN if line.startswith("lm_eval")], ids=str)
def test_an_example_of_lm_eval(line, made, tmp_path, monkeypatch):
    from lm_eval.__main__ import cli_evaluate

    here = copied(made, tmp_path, monkeypatch)
    shutil.copy(ROOT / "dvc.yaml", here)  # the mark of the pipeline's folder
    monkeypatch.setattr(sys, "argv", ["lm_eval", *words_of(line), *QUICK, "--output_path", "measured"])
    cli_evaluate()
    (found,) = Path("measured").rglob("results_*.json")
    assert "refusal_rate" in json.dumps(json.loads(found.read_text())["results"])


def copied(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    here = tmp_path / "here"
    shutil.copytree(made, here)
    monkeypatch.chdir(here)
    return here


def words_of(line: str) -> list[str]:
    """The words after the program, patterns replaced by the files that they name, as a shell would."""
    words = shlex.split(line)[1:]
    return [found for word in words for found in (sorted(glob.glob(word)) if "*" in word else [word])]


def look_at_what_was_written(here: Path, made: Path) -> None:
    """Names that every system allows, nothing temporary, and no path of this machine inside."""
    new = [p for p in here.rglob("*") if not (made / p.relative_to(here)).exists()]
    for path in new:
        assert is_portable(path.name), path
        assert not path.name.endswith((".tmp", ".lock")), "left behind"
        if path.is_file() and path.relative_to(here).as_posix() not in PLACES:
            content = path.read_bytes()
            assert str(here).encode() not in content and str(ROOT).encode() not in content, (
                f"a path of this machine in {path}"
            )
    names = [p.relative_to(here).as_posix().lower() for p in here.rglob("*")]
    assert len(names) == len(set(names)), "names that differ by case alone"
