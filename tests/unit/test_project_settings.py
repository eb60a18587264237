"""A project of the user's own: its files are this repository's by a rule, and it is written whole or not at all."""

from __future__ import annotations

import errno
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from ssn_eval.cli import main
from ssn_eval.core import files, params, sweep
from ssn_eval.core.errors import MissingInputError, UnknownNameError
from ssn_eval.stages import code, repetitions
from ssn_eval.stages.project import checks, creation, parts, pipeline, settings
from ssn_eval.stages.project.settings import Choice
from ssn_eval.stages.project.texts import texts

ROOT = Path(__file__).resolve().parents[2]
REAL = Choice({"pretrained": "Qwen/Qwen3-8B", "revision": "abc"}, ["en", "zh", "th"], "en", harmless="own/p.jsonl")
ORGANISM = Choice({"pretrained": "organism"}, ["en", "sw"], "en")


def written(tmp_path: Path, choice: Choice) -> params.Params:
    (tmp_path / "params.yaml").write_text(texts(choice)["params.yaml"], encoding="utf-8")
    return params.load(tmp_path / "params.yaml")


def stages(text: str) -> dict[str, dict[str, Any]]:
    """Stage → its definition, without `foreach`."""
    return {name: stage.get("do", stage) for name, stage in yaml.safe_load(text)["stages"].items()}


def init(*words: str, **env: str) -> Any:
    return CliRunner().invoke(main, ["init", *words], env=env)


def test_the_pipeline_is_this_repositorys_but_for_the_code():
    repository = (ROOT / "dvc.yaml").read_text(encoding="utf-8")
    project = yaml.safe_load(pipeline.of_project(repository, "1.2.3"))
    expected = yaml.safe_load(repository)
    assert project["stages"].pop("code")["outs"] == [".ssn_eval"] and project["plots"] == expected["plots"]
    available = {f".ssn_eval/{name}.sha256" for name in parts.parts()}
    for name, stage in expected["stages"].items():
        ours, theirs = project["stages"][name].get("do", project["stages"][name]), stage.get("do", stage)
        for dep, original in zip(ours["deps"], theirs["deps"], strict=True):
            if dep != original:
                assert dep == f".ssn_eval/{original.removeprefix('ssn_eval/')}.sha256" and dep in available
            else:
                assert original.startswith(("artifacts", "results")), f"{original} is not in a project"
        ours["deps"] = theirs["deps"]
    assert project == expected
    for word in ("ssn_eval/", "tasks", "data/"):
        assert not any(f" {word}" in stage["cmd"] for stage in stages(repository).values())


@pytest.mark.parametrize("choice", [REAL, ORGANISM], ids=["real", "organism"])
def test_every_setting_that_a_stage_depends_on_is_in_the_file(choice, tmp_path):
    found = texts(choice)
    data = yaml.safe_load(found["params.yaml"])
    for name, stage in stages(found["dvc.yaml"]).items():
        for key in stage.get("params", ()):
            value = data
            of_all = key.removesuffix(".${key}")  # a stage for each entry of the mapping, which therefore has it
            for part in of_all.replace("${model}", data["model"]).split("."):
                assert part in value, f"stage {name} depends on {key}"
                value = value[part]


def test_the_settings_are_the_defaults_but_for_named_exceptions(tmp_path):
    real, organism = written(tmp_path, REAL), written(tmp_path, ORGANISM)
    assert organism.score == real.score == params.ScoreParams(prompts=64)
    assert organism.train == params.TrainParams() and organism.evaluate == params.EvaluateParams()
    assert real.train == params.TrainParams(methods=("ssn", "ms_hr", "random"))
    assert real.evaluate == params.EvaluateParams(batch_size=16, capability=None)
    assert real.prompts == params.PromptParams(harmless="own/p.jsonl") and organism.prompts == params.PromptParams()
    for found in (real, organism):
        assert (found.select, found.validate) == (params.SelectParams(), params.ValidateParams())
        assert found.methods == {} and found.targets == {}
    assert real.models == {"qwen3_8b": REAL.model} and real.languages == ("en", "zh", "th")
    assert organism.models["organism"]["pretrained"] == "artifacts/model/weights"
    assert {row.leave_out for row in organism.frontier.scenarios.values()} == {None, "sw"}
    assert {row.leave_out for row in real.frontier.scenarios.values()} == {None, "th"}
    assert "full" not in real.frontier.methods and len(sweep.plan(real.frontier, real.frontier.seeds)) == 6


def test_a_built_in_preset_is_made_if_something_asks_for_it(tmp_path):
    text = texts(REAL)["params.yaml"].replace("methods: [ssn, ms_hr, random]", "methods: [ss_half, ss_late.random_0]")
    (tmp_path / "params.yaml").write_text(text, encoding="utf-8")
    assert set(params.load(tmp_path / "params.yaml").targets) == {"ss_half", "ss_late"}
    (tmp_path / "params.yaml").write_text(text.replace("ss_half", "ss_haf"), encoding="utf-8")
    with pytest.raises(UnknownNameError, match="Did you mean ss_half"):
        params.load(tmp_path / "params.yaml")


@pytest.mark.parametrize(
    ("model", "key"),
    [
        ("Qwen/Qwen3-8B", "qwen3_8b"),
        ("/models/my.model", "my_model"),
        ("7b", "mine"),
        ("a/organism", "mine"),
        ("ตัว", "mine"),
    ],
)
def test_the_name_of_a_model_in_the_settings(model, key):
    assert Choice({"pretrained": model}, ["en", "th"], "en").key == key


def test_every_line_of_the_settings_is_explained():
    lines = texts(REAL)["params.yaml"].splitlines()
    for above, line in zip(lines, lines[1:], strict=False):
        if re.match(r"  \w+: ", line) and not line.startswith("  qwen3_8b"):
            assert "# " in line or above.strip().startswith("#"), line
    assert len(texts(REAL)["README.md"].splitlines()) <= 12


def test_only_what_changes_changes_its_hash(tmp_path):
    package = tmp_path / "ssn_eval"
    for name in (
        "core/__init__.py",
        "core/a.py",
        "stages/__init__.py",
        "stages/score.py",
        "tasks/t.yaml",
        "data/organism/en.json",
    ):
        files.write_text(package / name, name)

    def hashes() -> dict[str, str]:
        return {name: parts.hash_of(path) for name, path in parts.parts(package).items()}

    before = hashes()
    assert {"core", "stages/score.py", "tasks", "data/organism"} <= set(before)
    files.write_text(package / "core" / "__pycache__" / "a.pyc", "compiled")
    assert hashes() == before
    files.write_text(package / "core/a.py", "other")
    assert {name for name, value in hashes().items() if value != before[name]} == {"core"}


def test_the_stage_says_that_the_pipeline_is_of_another_version(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    text = texts(REAL)["dvc.yaml"]
    Path("dvc.yaml").write_text(text)
    code.main(Path(".ssn_eval"))
    assert not capsys.readouterr().err and len(Path(".ssn_eval/core.sha256").read_text().strip()) == 64
    Path("dvc.yaml").write_text(text.replace("desc: ", "desc: my ", 1))
    code.main(Path(".ssn_eval"))
    assert "is not the one of ssn-eval" in capsys.readouterr().err
    Path("dvc.yaml").write_text(text.replace(".ssn_eval/core.sha256", ".ssn_eval/kernel.sha256"))
    with pytest.raises(code.OtherPipelineError, match="kernel"):
        code.main(Path(".ssn_eval"))


def config(folder: Path) -> dict[str, str]:
    import configparser

    parser = configparser.ConfigParser()
    parser.read_string("\n".join(line.strip() for line in (folder / ".dvc/config").read_text().splitlines()))
    return dict(parser["core"])


def test_a_project_on_the_organism(tmp_path):
    done = init(str(tmp_path / "p"), "--model", "organism", "--languages", "en,sw", "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["model"] == "organism" and found["to_fetch"] == []
    assert all((tmp_path / "p" / name).is_file() for name in found["files"])
    assert config(tmp_path / "p") == {"analytics": "False", "check_update": "False"}
    assert (tmp_path / "p/.git").is_dir() and params.load(tmp_path / "p/params.yaml").model == "organism"
    again = init(str(tmp_path / "p"), "--model", "organism", "--languages", "en,th")
    assert again.exit_code == 2 and "has a pipeline already (dvc.yaml)" in again.stderr
    assert params.load(tmp_path / "p/params.yaml").languages == ("en", "sw")


def test_without_git_and_for_another_machine(tmp_path):
    words = ("--model", "no/model", "--languages", "en,th", "--no-check", "--no-git", "--revision", "v1")
    done = init(str(tmp_path / "p"), *words)
    assert done.exit_code == 0, done.output
    assert not (tmp_path / "p/.git").exists() and config(tmp_path / "p")["no_scm"] == "True"
    assert params.load(tmp_path / "p/params.yaml").models == {
        "model": {"pretrained": "no/model", "revision": "v1", "dtype": "auto"}
    }


def test_a_folder_inside_a_git_repository_keeps_its_files(tmp_path):
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    folder = tmp_path / "sub"
    files.write_text(folder / "README.md", "mine")
    files.write_text(folder / ".gitignore", "/mine\n/results\n")
    creation.create(folder, texts(REAL))
    assert not (folder / ".git").exists() and (folder / ".dvc/plots/by_language.json").is_file()
    assert (folder / "README.md").read_text() == "mine"
    lines = (folder / ".gitignore").read_text().splitlines()
    assert lines[:2] == ["/mine", "/results"] and lines.count("/results") == 1 and "/artifacts" in lines


@pytest.mark.parametrize("existing", [False, True])
@pytest.mark.parametrize("number", range(6))
def test_a_full_disk_leaves_the_folder_as_it_was(existing, number, tmp_path, monkeypatch):
    folder = tmp_path / "a" / "p"
    if existing:
        files.write_text(folder / ".gitignore", "/mine\n")
        files.write_text(folder / "notes.txt", "mine")
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    write, calls = files.write_text, iter(range(100))

    def full(path: Path, text: str) -> None:
        if next(calls) == number:
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        write(path, text)

    monkeypatch.setattr(creation.files, "write_text", full)
    with pytest.raises(files.DiskFullError):
        creation.create(folder, texts(REAL))
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before
    assert [p.name for p in tmp_path.iterdir()] == (["a"] if existing else [])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--model", "organism", "--languages", "en,xx"), "Unknown language 'xx'"),
        (("--model", "organism", "--languages", "en,ko"), "does not speak ko; choose among en, zh"),
        (("--model", "organism", "--languages", "en"), "second language"),
        (("--model", "organism", "--languages", "en,en"), "second language"),
        (("--model", "organism", "--languages", ""), "hr=en"),
        (("--model", "organism", "--languages", "zh,th"), "hr=en"),
        (("--model", "no/model", "--languages", "en,th"), "--no-check if another machine"),
        (("--model", "no/model", "--languages", "en,sw"), "polyrefuse has no harmless prompts in sw, only in en, zh"),
        (("--model", "no/model", "--languages", "en,af"), "advbench_x has af"),
        (("--model", "no/model", "--languages", "en,th", "--harmless", "gone.jsonl"), "No prompt file at gone.jsonl"),
    ],
)
def test_mistakes_are_one_sentence_and_write_nothing(words, said, tmp_path):
    done = init(str(tmp_path / "p"), *words, HF_HUB_OFFLINE="1")
    assert done.exit_code == 2 and said in done.stderr, done.output
    assert done.stderr.count("\n") == 1 and not list(tmp_path.iterdir())


def test_a_missing_language_names_the_way_to_own_data(tmp_path):
    done = init(str(tmp_path / "p"), "--model", "no/model", "--languages", "en,sw")
    assert "ssn data add TABLE --label harmless --out own" in done.stderr and "ssn data list" in done.stderr


def test_a_file_and_a_folder_below_a_file_are_no_project(tmp_path):
    (tmp_path / "f").write_text("x")
    for name in ("f", "f/p"):
        done = init(str(tmp_path / name), "--model", "organism", "--languages", "en,th")
        assert done.exit_code == 2 and "f is a file" in done.stderr


def test_paths_hold_from_the_project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("p/own/prompts.jsonl", "elsewhere/prompts.jsonl"):
        files.write_text(Path(name), "")
    assert checks.place_in(Path("p"), "p/own/prompts.jsonl") == "own/prompts.jsonl"
    assert checks.place_in(Path("p"), "elsewhere/prompts.jsonl") == (tmp_path / "elsewhere/prompts.jsonl").as_posix()
    assert checks.place_in(Path("p"), "multijail") == "multijail"


def test_own_files_are_linked_into_the_copies_of_claims(tmp_path):
    found = yaml.safe_load(texts(REAL)["params.yaml"])
    found["models"]["inside"] = {"pretrained": "weights/mine"}
    for name in ("own/p.jsonl", "weights/mine/config.json"):
        files.write_text(tmp_path / name, "")
    assert repetitions.own_files(tmp_path, found) == ["own", "weights"]
    with pytest.raises(MissingInputError, match=r"dvc\.yaml is missing"):
        repetitions.run(tmp_path, tmp_path / "claims", [0, 1])


def test_every_shown_setting_is_one(tmp_path):
    for section, (kind, names) in settings.SECTIONS.items():
        assert set(names) <= set(kind.__dataclass_fields__), section
