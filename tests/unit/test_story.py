"""The line that every stage ends with: its number, what it did, its time, and the time left."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import warnings
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from ssn_eval.core import chatter, params
from ssn_eval.stages import story

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = params.load(ROOT / "params.yaml")
NAMES = story.stages(*(yaml.safe_load((ROOT / name).read_text()) for name in ("dvc.yaml", "params.yaml")))


def test_the_stages_are_in_the_order_in_which_dvc_runs_them():
    """Each stage comes after those that make its deps, and `foreach` is one stage an item."""
    pipeline = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    assert [
        *("organism", "prompts", "score", "select", "validate"),
        *(f"train@{method}" for method in SHIPPED.train.methods),
        *("evaluate", "report"),
    ] == NAMES
    made: list[str] = []
    for name, stage in pipeline.items():
        stage = stage.get("do", stage)
        needed = [dep for dep in stage["deps"] if dep.startswith(("artifacts", "results"))]
        assert all(any(out.startswith(dep) or dep.startswith(out) for out in made) for dep in needed), name
        outs = [*stage.get("outs", ()), *stage.get("metrics", ())]
        made += [out.partition("/${item}")[0] for out in outs]


def test_a_time_left_is_what_the_later_stages_took_before():
    seconds = dict.fromkeys(NAMES, 10.0)
    assert story.left("evaluate", NAMES, seconds, SHIPPED) == 10
    assert story.left("organism", NAMES, seconds, SHIPPED) == 10 * (len(NAMES) - 1)
    assert story.left("report", NAMES, seconds, SHIPPED) == 0


def test_on_a_first_run_the_stages_before_say_how_fast_the_machine_is():
    slow, fast = ({"organism": story.USUAL["organism"] * factor} for factor in (3.0, 1.0))
    left = [story.left("organism", NAMES, seconds, SHIPPED) for seconds in (slow, fast)]
    assert left[0] == pytest.approx(3 * (left[1] or 0)) and left[1]
    more = replace(SHIPPED, train=replace(SHIPPED.train, methods=(*SHIPPED.train.methods, "lora")))
    names = [*NAMES[:-2], "train@lora", *NAMES[-2:]]
    longer = story.left("organism", names, fast, more)
    added = story.USUAL["train"] + story.USUAL["condition"]
    assert longer == pytest.approx(left[1] + added), "one method and one variant more"


def test_a_real_model_is_estimated_once_stages_of_the_same_kind_have_run():
    real = replace(SHIPPED, model="qwen_coder_05b")
    seconds = {"organism": 1.0, "prompts": 50.0, "score": 60.0, "select": 2.0, "validate": 36.0}
    assert story.left("validate", NAMES, seconds, real) is None, "nothing tells how long a training takes"
    conditions = story.units("validate", real)
    expected = 3 * 20.0 + 5 * 36.0 / conditions + story.USUAL["report"]
    assert story.left("train@ssn", NAMES, seconds | {"train@ssn": 20.0}, real) == pytest.approx(expected)


def test_a_stage_that_is_not_ours_has_no_estimate():
    assert story.left("report", [*NAMES, "publish"], dict.fromkeys(NAMES, 1.0), SHIPPED) is None


@pytest.mark.parametrize(
    ("names", "left", "text"),
    [
        (["score", "select"], 600.0, "1 of 2, score: scored 6 languages (20 s, about 10 min left)"),
        (["score"], 0.0, "1 of 1, score: scored 6 languages (20 s)"),
        (["score", "select"], None, "1 of 2, score: scored 6 languages (20 s)"),
        ([], None, "score: scored 6 languages (20 s)"),
    ],
)
def test_the_line(names, left, text):
    assert story.line("score", "scored 6 languages", 20.0, names, left) == text


def test_a_pipeline_of_ones_own_gives_no_numbers(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for pipeline in (None, "stages: 3", "stages: {a: {foreach: '${x.y}'}}", ": :"):
        if pipeline:
            Path("dvc.yaml").write_text(pipeline)
            Path("params.yaml").write_text("x: 1")
        assert story.here() == []
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / "good.json").write_text(json.dumps({"stage": "score", "seconds": 2}))
    assert story.recorded(tmp_path) == {"score": 2.0}


def test_known_chatter_is_silent_and_a_real_warning_is_not(caplog):
    chatter.silence()
    chatter.silence()
    name, (part, *_) = next(iter(chatter.KNOWN.items()))
    logger = logging.getLogger(name)
    assert len([one for one in logger.filters if type(one).__module__ == chatter.__name__]) == 1
    with caplog.at_level(logging.WARNING, logger=name):
        logger.warning("task: %s and so on", part)
        logger.warning("the disk is full")
    assert [record.getMessage() for record in caplog.records] == ["the disk is full"]


def test_bars_of_other_libraries_are_off_in_children_too():
    code = "from ssn_eval.core import chatter; chatter.silence(); from tqdm import tqdm; list(tqdm(range(3)))"
    plain = {k: v for k, v in os.environ.items() if k != "TQDM_DISABLE"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=plain, check=True)
    assert done.stderr == ""
    with warnings.catch_warnings(record=True) as shown:
        warnings.resetwarnings()
        chatter.silence()
        warnings.warn("later", FutureWarning, stacklevel=1)
        warnings.warn("now", UserWarning, stacklevel=1)
    assert [str(one.message) for one in shown] == ["now"]
