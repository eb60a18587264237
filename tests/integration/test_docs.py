"""The documentation builds without a warning, and what it tells people to type exists; the tutorial is run as it stands."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import click
import documents
import example_files
import pytest
import yaml
from click.testing import CliRunner
from documents import PAGES, ROOT, Typed
from test_examples import words_of

from ssn_eval.cli import main

TYPED = [*(t for page in PAGES for t in documents.of_page(page)), *documents.of_notebook()]
TUTORIAL = ROOT / "docs" / "tutorial.md"
NOT_RUN = ("make demo", ". .venv/bin/activate")
"""lines of the tutorial that tests/pipeline/test_dvc.py runs small, or that no test can"""


@pytest.fixture(scope="module")
def site(once) -> Path:
    """The built pages; a warning is a failure."""

    def make(out: Path) -> None:
        command = [sys.executable, "-m", "sphinx", "-q", "-b", "html", "-W", "--keep-going", "-d", str(out / "trees")]
        done = subprocess.run([*command, str(ROOT / "docs"), str(out / "html")], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    return once("site", make) / "html"


def test_every_page_is_there(site):
    for page in PAGES[1:]:
        assert (site / page.relative_to(ROOT / "docs").with_suffix(".html")).is_file(), page


def leaves(group: click.Group, path: str = "") -> Iterator[tuple[str, click.Command]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from leaves(command, f"{path}{name} ")
        else:
            yield path + name, command


def test_every_command_and_option_is_in_the_reference(site):
    text = (site / "reference" / "cli.html").read_text(encoding="utf-8")
    for name, command in leaves(main):
        assert f'id="ssn-{name.replace(" ", "-")}"' in text, name
        for option in (o for p in command.params if isinstance(p, click.Option) for o in p.opts if o.startswith("--")):
            assert option in text, f"ssn {name} {option}"


def test_the_reference_of_python_has_signatures_and_sources(site):
    text = (site / "reference" / "api" / "identify.html").read_text(encoding="utf-8")
    for name in (
        "ssn_eval.identification.selection.shared",
        "ssn_eval.identification.importance.measure",
        "ssn_eval.identification.identify.identify",
    ):
        assert f'id="{name}"' in text
    assert "Raises" in text and "MismatchError" in text


def test_the_pages_ask_no_network(site):
    for page in site.rglob("*.html"):
        found = re.findall(
            r'<(?:script|link|img)[^>]+(?:src|href)="(https?://[^"]+)"', page.read_text(encoding="utf-8")
        )
        assert not found, f"{page.name} loads {found[0]}"


def test_there_is_much_to_type():
    assert len(TYPED) > 80 and {t.words[0] for t in TYPED} == {"ssn", "lm_eval", "dvc", "make"}


@pytest.mark.parametrize("typed", [t for t in TYPED if t.words[0] == "ssn"], ids=str)
def test_a_command_and_its_options_exist(typed: Typed):
    name, rest = typed.words[1], typed.words[2:]
    if name.startswith("-"):
        assert name in ("--help", "--version"), typed
        return
    if not re.fullmatch(r"[a-z]+", name):
        assert name in ("COMMAND", "…"), typed
        return
    assert name in main.commands, f"there is no ssn {name}"
    command = main.commands[name]
    if isinstance(command, click.Group):
        assert rest and rest[0] in command.commands, f"there is no ssn {name} {' '.join(rest[:1])}"
        command = command.commands[rest[0]]
    known = {o for p in command.params for o in p.opts} | {"--help", "--quiet"}
    for word in rest:
        if word.startswith("--"):
            assert word.partition("=")[0] in known, f"ssn {name} has no {word}"


@cache
def our_tasks() -> set[str]:
    return {
        str(data.get("task") if isinstance(data.get("task"), str) else data.get("group"))
        for path in (ROOT / "tasks").rglob("*.yaml")
        if (data := yaml.load(path.read_text(encoding="utf-8"), _Loose))
    }


class _Loose(yaml.SafeLoader):
    """lm_eval's YAML with its `!function` left unread."""


_Loose.add_constructor("!function", lambda _loader, _node: None)


@pytest.mark.parametrize("typed", [t for t in TYPED if t.words[0] == "lm_eval"], ids=str)
def test_a_task_a_model_and_its_arguments_exist(typed: Typed):
    import dataclasses
    import inspect

    from ssn_eval.harness.arguments import ModelArguments
    from ssn_eval.harness.bootstrap import MODELS
    from ssn_eval.harness.model import SsnHFLM

    given = dict(zip(typed.words, typed.words[1:], strict=False))
    model = given.get("--model", "ssn_hf")
    assert model in {*MODELS, "hf", "vllm"}, model
    if model == "ssn_hf":
        known = {n for kind in SsnHFLM.__mro__[:3] for n in inspect.signature(kind.__init__).parameters}
        known |= {field.name for field in dataclasses.fields(ModelArguments)}
        for argument in given.get("--model_args", "").split(","):
            assert not argument or argument == "…" or argument.partition("=")[0] in known, f"{argument} in {typed}"
    for task in given.get("--tasks", "").split(","):
        assert not task or task in our_tasks() | added_tasks(typed.page) or task == "…", f"no task {task}"


def added_tasks(page: str) -> set[str]:
    """The folders that `ssn data add` makes on a page; without `--name`, the group is called as the table."""
    added = [t.words for t in TYPED if t.page == page and t.words[:3] == ("ssn", "data", "add") and "--out" in t.words]
    return {words[words.index("--out") + 1] for words in added} | {Path(words[3]).stem for words in added}


@pytest.mark.parametrize("typed", [t for t in TYPED if t.words[0] == "dvc"], ids=str)
def test_a_parameter_that_is_set_exists(typed: Typed):
    params = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    for flag, value in zip(typed.words, typed.words[1:], strict=False):
        if flag == "-S":
            found = params
            for part in value.partition("=")[0].split("."):
                assert part in found, f"params.yaml has no {value}"
                found = found[part]


@pytest.mark.parametrize("typed", [t for t in TYPED if t.words[0] == "make"], ids=str)
def test_a_target_exists(typed: Typed):
    assert re.search(rf"^{typed.words[1]}:", (ROOT / "Makefile").read_text(), re.MULTILINE), typed


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_a_json_block_is_json(page: Path):
    for block in documents.blocks(page, "json"):
        try:
            json.loads(block)
        except json.JSONDecodeError:
            for line in block.splitlines():
                json.loads(line)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_a_link_leads_somewhere(page: Path):
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), f"{page.name} links {target}"


def test_the_shell_and_yaml_of_a_cluster_can_be_read():
    page = ROOT / "docs" / "howto" / "cluster.md"
    (script,) = documents.blocks(page, "bash")
    assert subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True).returncode == 0
    (sky,) = documents.blocks(page, "yaml")
    assert {"resources", "setup", "run"} <= set(yaml.safe_load(sky))


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory) -> Path:
    """What `make demo` leaves, small and untrained."""
    from ssn_eval.core import store
    from ssn_eval.core.neurons import NeuronSet
    from ssn_eval.models import loading

    folder = tmp_path_factory.mktemp("tutorial")
    with pytest.MonkeyPatch.context() as here:
        here.chdir(folder)
        for name in (example_files.PIPELINE, "artifacts/model/spec.json", "artifacts/train/ssn", "results"):
            Path(name).parent.mkdir(parents=True, exist_ok=True)
            example_files.MAKERS[name](Path(name))
        example_files.pairs(Path("artifacts/pairs.jsonl"))
        ref = loading.load(loading.ModelSpec(example_files.PIPELINE)).ref
        keys = {"layers.0.q_proj": [1, 2], "layers.1.mlp": [3]}
        for name in ("ss", "ms_hr", "random_0", "ss/zh", "ss/th", "ss/sw"):
            file = store.NeuronFile(NeuronSet.from_keys(keys), ref, {"set": name})
            store.save_neurons(Path(f"artifacts/sets/{name}.json"), file)
        (folder / "dvc.yaml").write_text((ROOT / "dvc.yaml").read_text())
    return folder


@pytest.mark.usefixtures("own_tasks_only")
def test_the_tutorial_from_top_to_bottom(pipeline, monkeypatch):
    from lm_eval.__main__ import cli_evaluate

    monkeypatch.chdir(pipeline)
    todo = [line for block in documents.blocks(TUTORIAL, "sh") for line in documents.lines(block)]
    assert [line for line in todo if line in NOT_RUN] == list(NOT_RUN) and len(todo) > 12
    for line in (line for line in todo if line not in NOT_RUN):
        if line.startswith("lm_eval"):
            words = ["lm_eval", *words_of(line), "--limit", "1", "--gen_kwargs", "max_gen_toks=4", "--device", "cpu"]
            monkeypatch.setattr(sys, "argv", words)
            cli_evaluate()
        else:
            assert shlex.split(line)[0] == "ssn", f"say in NOT_RUN why {line} is not run"
            done = CliRunner().invoke(main, words_of(line))
            assert done.exit_code == 0, f"{line}\n{done.output} {done.exception!r}"
    for made in (
        "hardened/README.md",
        "merged/model.safetensors",
        "for-servers/adapter_config.json",
        "report/index.html",
    ):
        assert Path(made).is_file()
