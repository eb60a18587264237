"""A sweep on an untrained tiny organism: cells are kept, resumed and the same in other processes; the command writes its three files."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from ssn_eval.cli import main
from ssn_eval.core import files, params, store
from ssn_eval.core.errors import MissingInputError, ParamsError
from ssn_eval.core.neurons import NeuronSet
from ssn_eval.core.sweep import Scenario
from ssn_eval.models import loading
from ssn_eval.organism import lexicon, questions, tokenizer
from ssn_eval.organism.settings import OrganismSettings
from ssn_eval.organism.training import build_model
from ssn_eval.prompts.jsonl import write_jsonl
from ssn_eval.prompts.pairs import Pair, safety_pairs, write_pairs
from ssn_eval.prompts.prompt import Prompt
from ssn_eval.stages.frontier import sweep

SHIPPED = Path(__file__).resolve().parents[2] / "params.yaml"
CHOSEN = NeuronSet.of([(0, "q_proj", 1), (1, "mlp", 3), (1, "o_proj", 5)])
SWEEP = {
    "scenarios": {"few": {"pairs": 2}, "left": {"leave_out": "jv", "replay": 0}},
    "methods": ["ssn", "random", "rdpo_ssn"],
    "draws": 2,
    "lr_factors": [10],
    "steps": [1, 2],
    "every": [24, 48, 48],
}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """Params, and two seeds as `ssn claims` leaves them."""
    made = tmp_path_factory.mktemp("frontier")
    settings = yaml.safe_load(SHIPPED.read_text())
    settings["frontier"] = SWEEP
    settings["train"] |= {"batch_size": 4, "pairs": 4}
    (made / "params.yaml").write_text(yaml.safe_dump(settings, allow_unicode=True))
    words = lexicon.load()
    tok = tokenizer.build(words)
    for seed in (0, 1):
        artifacts = made / f"claims/seed-{seed}/artifacts"
        tiny = OrganismSettings(seed=seed, layers=2, hidden=32, heads=4, kv_heads=2, mlp=48)
        build_model(tiny, tok).save_pretrained(artifacts / "model/weights")
        tok.save_pretrained(artifacts / "model/weights")
        ref = loading.load(loading.ModelSpec(str(artifacts / "model/weights"), dtype="float32")).ref
        store.save_neurons(artifacts / "sets/ss.json", store.NeuronFile(CHOSEN, ref))
        asked = {
            label: [i for lang in words.languages for i in questions.items(words, lang, label, "train")[:4]]
            for label in ("harmful", "harmless")
        }
        pairs = safety_pairs([Prompt(i.id, i.lang, "harmful", i.prompt) for i in asked["harmful"]])
        pairs += [Pair(i.id, i.lang, "harmless", i.prompt, i.answer) for i in asked["harmless"]]
        write_pairs(artifacts / "pairs.jsonl", pairs)
    return made


def folders(project: Path) -> dict[int, Path]:
    return {seed: project / f"claims/seed-{seed}" for seed in (0, 1)}


@pytest.fixture(scope="module")
def swept(project, tmp_path_factory) -> tuple[Path, dict[str, Any]]:
    """A folder with every cell, and what the sweep gave back."""
    out = tmp_path_factory.mktemp("swept")
    return out, sweep.sweep(params.load(project / "params.yaml"), folders(project), out, workers=1)


def test_cells_are_kept_and_only_missing_ones_computed(project, swept, tmp_path, monkeypatch):
    settings, found = params.load(project / "params.yaml"), swept[1]
    shutil.copytree(swept[0], tmp_path, dirs_exist_ok=True)
    kept = [p for p in (tmp_path / "cells").iterdir() if not p.name.startswith("base")]
    assert len(found["cells"]) == 2 * 2 * 4 == len(kept)
    assert [p["step"] for cell in found["cells"] for p in cell["points"]] == [1, 2] * 16
    assert all(set(p["by_lang"]) == set(settings.languages) for cell in found["cells"] for p in cell["points"])
    losses = {(c["seed"], c["scenario"], c["method"], c["draw"]): tuple(c["loss"]) for c in found["cells"]}
    assert len(set(losses.values())) == len(losses), "draws, scenarios and seeds are different runs"

    def never(task):
        raise AssertionError(task)

    monkeypatch.setattr(sweep, "compute", never)
    assert sweep.sweep(settings, folders(project), tmp_path, workers=1) == found
    kept[0].unlink()
    with pytest.raises(AssertionError):
        sweep.sweep(settings, folders(project), tmp_path, workers=1)
    wider = replace(settings, frontier=replace(settings.frontier, lr_factors=(10.0, 1.0)))
    computed, any_cell = [], files.read_json(kept[1], "a cell")
    monkeypatch.setattr(sweep, "compute", lambda task: computed.append(task.cell) or any_cell)
    sweep.sweep(wider, folders(project), tmp_path, workers=1)
    assert len(computed) == 16 + 1 and sum(cell.factor == 10 for cell in computed) == 1


def test_rows_of_other_papers_are_cells_like_any_other(project, tmp_path):
    settings = params.load(project / "params.yaml")
    names = ("complement", "tied", "sft_ablated", "mlc_ssn")
    plan = replace(settings.frontier, scenarios={"few": Scenario(pairs=2)}, methods=names, steps=(1,))
    cells = sweep.sweep(replace(settings, frontier=plan), {0: folders(project)[0]}, tmp_path, 1)["cells"]
    by_method = {cell["method"]: cell for cell in cells}
    assert set(by_method) == set(names) and all(len(cell["points"]) == 1 for cell in cells)
    assert by_method["complement"]["lr"] == pytest.approx(10 * settings.train.lr_full)
    assert by_method["tied"]["lr"] == pytest.approx(10 * settings.train.lr)
    owned = by_method["complement"]["parameters"] - by_method["complement"]["trainable"]
    assert by_method["mlc_ssn"]["trainable"] == owned > by_method["tied"]["trainable"]


def test_other_processes_compute_the_same(project, tmp_path):
    settings = params.load(project / "params.yaml")
    one = replace(settings, frontier=replace(settings.frontier, methods=("ssn", "full"), lr_factors=(1.0,)))

    def cells(out: Path, workers: int) -> list[dict]:
        found = sweep.sweep(one, {0: folders(project)[0]}, out, workers=workers)["cells"]
        return [{k: v for k, v in cell.items() if k != "cpu_seconds"} for cell in found]

    assert cells(tmp_path / "a", 1) == cells(tmp_path / "b", 2)


def test_a_step_on_the_way_is_the_run_that_ends_there(project, tmp_path):
    settings = params.load(project / "params.yaml")
    short = replace(settings, frontier=replace(settings.frontier, steps=(1,), methods=("ssn",)))
    long = replace(short, frontier=replace(short.frontier, steps=(1, 3)))
    a, b = (
        sweep.sweep(s, {0: folders(project)[0]}, tmp_path / str(n), 1)["cells"] for n, s in enumerate((short, long))
    )
    assert [c["loss"] for c in a] == [c["loss"][:1] for c in b]
    assert [c["points"] for c in a] == [c["points"][:1] for c in b]


def test_the_command_writes_a_result_a_figure_and_a_table(project, swept, tmp_path, monkeypatch):
    """It computes three of the cells, the others are there."""
    shutil.copytree(swept[0], tmp_path / "out")
    for path in sorted(p for p in (tmp_path / "out/cells").iterdir() if not p.name.startswith("base"))[::6]:
        path.unlink()
    monkeypatch.chdir(project)
    words = ["frontier", "--as-is", "--seeds", "0,1", "--workers", "1", "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(main, [*words, "--json"])
    assert done.exit_code == 0, (done.stderr, done.exception)
    value = json.loads(done.stdout)
    assert value == json.loads((tmp_path / "out/frontier.json").read_text())
    assert value["settings"]["steps"] == [1, 2] and value["scenarios"]["left"]["languages"] == ["jv"]
    assert b"<svg" in (tmp_path / "out/frontier.svg").read_bytes()
    assert (tmp_path / "out/frontier.png").read_bytes().startswith(b"\x89PNG")
    again = CliRunner().invoke(main, words)
    assert "rdpo_ssn" in again.stdout and "frontier.json" in again.stdout


def test_mistakes(project, tmp_path, monkeypatch):
    settings = params.load(project / "params.yaml")
    with pytest.raises(MissingInputError, match=r"prompts.jsonl is not there; run `ssn frontier`"):
        sweep.sweep(replace(settings, model="smollm2"), folders(project), tmp_path)
    fewer = replace(settings, languages=("en", "zh", "th"))
    with pytest.raises(ParamsError, match="frontier.scenarios.left leaves out jv"):
        sweep.sweep(fewer, folders(project), tmp_path)
    with pytest.raises(MissingInputError, match="--as-is"):
        sweep.sweep(settings, {7: tmp_path}, tmp_path)
    private = replace(settings, frontier=replace(settings.frontier, methods=("private",)))
    with pytest.raises(MissingInputError, match="trains the set private"):
        sweep.sweep(private, folders(project), tmp_path)
    monkeypatch.chdir(project)
    for words, said in (
        (["--as-is", "--runs", "none"], "No working copy at none/seed-0"),
        (["--seeds", "a"], "whole numbers"),
        (["--seeds", "-1"], "must not be below 0"),
    ):
        done = CliRunner().invoke(main, ["frontier", "--out", str(tmp_path), *words])
        assert done.exit_code == 2 and said in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.slow  # the column's numbers are in tests/unit/test_robustness_numbers.py
def test_the_set_is_found_again_at_the_steps_asked_for_and_the_run_is_the_same(project, tmp_path):
    settings, words = params.load(project / "params.yaml"), lexicon.load()
    folder = shutil.copytree(folders(project)[0], tmp_path / "seed-0")
    rows = [
        Prompt(i.id, i.lang, label, i.prompt, "train")
        for label in ("harmful", "harmless")
        for lang in words.languages
        for i in questions.items(words, lang, label, "train")[:2]
    ]
    write_jsonl(folder / "artifacts/prompts.jsonl", rows)
    one = replace(
        settings,
        frontier=replace(settings.frontier, scenarios={"few": Scenario(pairs=2)}, methods=("ssn",)),
        score=replace(settings.score, probes=1),
        select=replace(settings.select, p=20.0),
    )
    asked = replace(one, frontier=replace(one.frontier, robustness=(2,)))
    plain, found = (sweep.sweep(s, {0: folder}, tmp_path / name, 1) for s, name in ((one, "a"), (asked, "b")))
    (first, last), (cell,) = found["cells"][0]["points"], plain["cells"]
    assert "again" not in first and [first["by_lang"], last["by_lang"]] == [p["by_lang"] for p in cell["points"]]
    assert found["cells"][0]["loss"] == cell["loss"], "looking does not change the run"
    assert last["again"]["neurons"] > 0 and set(last["again"]["random"]) == set(settings.languages)
    assert found["base_again"][0]["neurons"] > 0 and "base_again" not in plain
    kept = {path.name for path in (tmp_path / "b/cells").iterdir()}
    assert len(kept) == 3 and sweep.sweep(asked, {0: folder}, tmp_path / "b", 1) == found
    assert {path.name for path in (tmp_path / "b/cells").iterdir()} == kept
    (folder / "artifacts/prompts.jsonl").unlink()
    with pytest.raises(MissingInputError, match=r"prompts.jsonl is not there"):
        sweep.sweep(asked, {0: folder}, tmp_path / "b", 1)


def test_a_real_model_is_measured_on_its_held_out_prompts(tmp_path, monkeypatch):
    """A tiny model with a chat template, and the prompts and pairs of its own pipeline."""
    from test_templates_in_pipeline import LLAMA3, prepare

    from ssn_eval.stages import prompts

    monkeypatch.chdir(tmp_path)
    settings = prepare(tmp_path, LLAMA3, {}, None)
    artifacts = tmp_path / "claims/seed-0/artifacts"
    shutil.copytree(tmp_path / "model", artifacts / "model")
    prompts.main(settings, artifacts / "model", artifacts / "prompts.jsonl", artifacts / "pairs.jsonl")
    ref = loading.load(loading.ModelSpec("weights", dtype="float32")).ref
    store.save_neurons(artifacts / "sets/ss.json", store.NeuronFile(CHOSEN, ref))
    plan = replace(
        settings.frontier,
        scenarios={"all": Scenario()},
        methods=("ssn", "random"),
        draws=1,
        lr_factors=(1000.0,),
        steps=(1, 2),
        every=(1, 2, 1),
    )
    settings = replace(settings, frontier=plan)
    found = sweep.sweep(settings, {0: tmp_path / "claims/seed-0"}, tmp_path / "out")
    (base,) = found["base"].values()
    assert set(base) == {"en", "zh"} and all(rates["capability"] == 1 for rates in base.values())
    assert {cell["method"] for cell in found["cells"]} == {"ssn", "random"}
    points = [point for cell in found["cells"] for point in cell["points"]]
    assert [point["step"] for point in points] == [1, 2] * 2
    kept_share = [rates["capability"] for point in points for rates in point["by_lang"].values()]
    assert all(share > 0 and share != 1 for share in kept_share), kept_share
    kept = {path: path.read_bytes() for path in (tmp_path / "out/cells").iterdir()}
    assert len(kept) == 3
    assert sweep.sweep(settings, {0: tmp_path / "claims/seed-0"}, tmp_path / "out") == found
    assert {path: path.read_bytes() for path in (tmp_path / "out/cells").iterdir()} == kept
    other = replace(settings, evaluate=replace(settings.evaluate, max_new_tokens=1))
    sweep.sweep(other, {0: tmp_path / "claims/seed-0"}, tmp_path / "out")
    assert len(list((tmp_path / "out/cells").iterdir())) == 6, "other settings of the measurement give other cells"
