"""Our tasks inside lm_eval's own evaluator: data, judging in one batch, numbers, samples, and bad input."""

from __future__ import annotations

import csv
import json
import math
import os
import re
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import lm_eval
import pytest
from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from lm_eval.evaluator import simple_evaluate
from lm_eval.tasks import TaskManager
from lm_eval.tasks._index import TaskIndex

from ssn_eval.errors import MissingInputError, SsnError
from ssn_eval.harness import datasets, task
from ssn_eval.harness.bootstrap import tasks_folder
from ssn_eval.harness.scoring import Judged
from ssn_eval.judges import Exchange, Verdict
from ssn_eval.languages import LANGUAGES
from ssn_eval.prompts import MULTIJAIL_LANGUAGES

ROWS = 6
LEAVES = sorted(p.stem for p in tasks_folder().glob("*/*.yaml") if not p.stem.startswith("_"))


class Scripted(LM):
    """A model whose reply depends on the prompt alone."""

    def __init__(self, replies: Mapping[str, str], default: str = "yes") -> None:
        super().__init__()
        self.replies, self.default = replies, default

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        return [self.replies.get(r.args[0], self.default) for r in requests]

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        raise NotImplementedError

    loglikelihood_rolling = loglikelihood  # type: ignore[assignment]


class WordJudge:
    """Reads the verdict off the reply's first word, so that a test's expected numbers can be counted by hand."""

    name = "word"
    batches: list[int]

    def __init__(self) -> None:
        self.batches = []

    def identity(self) -> dict[str, object]:
        return {"name": self.name, "version": "1"}

    def judge(self, exchanges: Sequence[Exchange]) -> list[Verdict]:
        self.batches.append(len(exchanges))
        known = {
            "sorry": Verdict(True, False, False, False, "sorry"),
            "yes": Verdict(False, True, False, False, "yes"),
            "junk": Verdict(None, None, True, False, "junk"),
        }
        return [known.get(e.response) or Verdict.failed(e.response) for e in exchanges]


@pytest.fixture
def judge(monkeypatch: pytest.MonkeyPatch) -> WordJudge:
    """The word judge under the name `word`."""
    word = WordJudge()
    monkeypatch.setattr(task, "check_judge", lambda _: None)
    monkeypatch.setattr(task, "get_judge", {"word": word}.__getitem__)
    return word


@pytest.fixture
def multijail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small CSV of MultiJail's form (BOM, tags as a Python list), where `SSN_DATA_DIR` points."""
    with (tmp_path / "MultiJail.csv").open("w", encoding="utf-8-sig", newline="") as handle:
        writer = csv.DictWriter(handle, ["id", "source", *MULTIJAIL_LANGUAGES, "tags"])
        writer.writeheader()
        for i in range(ROWS):
            texts = {code: f"{code} {i} {{{{ not a template }}}}\n" for code in MULTIJAIL_LANGUAGES}
            writer.writerow({"id": i, "source": "test", "tags": "['a', 'b']", **texts})
    monkeypatch.setenv("SSN_DATA_DIR", str(tmp_path))
    return tmp_path / "MultiJail.csv"


def prompt(lang: str, i: int) -> str:
    return f"{lang} {i} {{{{ not a template }}}}"


def evaluate(lm: LM, *names: str, metadata: Mapping[str, Any] | None = None, **options: Any) -> dict[str, Any]:
    manager = TaskManager(include_path=str(tasks_folder()), include_defaults=False, metadata=dict(metadata or {}))
    run: Any = simple_evaluate  # its decorator hides the parameters from the type checker
    result = run(lm, tasks=list(names), task_manager=manager, log_samples=True, **options)
    assert result is not None
    return dict(result)


def rows(data: Any) -> list[dict[str, Any]]:
    """The documents of a data set that one of our loaders gave."""
    return [dict(row) for row in data["test"]]


def test_every_task_loads_and_renders_its_prompts_as_they_are(multijail: Path) -> None:
    manager = TaskManager(include_path=str(tasks_folder()), include_defaults=False)
    loaded = manager.load(LEAVES)["tasks"]
    assert sorted(loaded) == LEAVES
    for name, one in loaded.items():
        docs = [dict(d) for d in list[Any](one.eval_docs)]
        assert docs and {d["lang"] for d in docs} == {name.rsplit("_", 1)[1]}
        assert [one.doc_to_text(d) for d in docs] == [d["prompt"] for d in docs]
        assert len({d["id"] for d in docs}) == len(docs)


@pytest.mark.parametrize("name", [n for n in LEAVES if n.startswith("organism")])
def test_the_size_in_a_files_head_is_the_size_of_its_task(name: str) -> None:
    text = (tasks_folder() / "organism" / f"{name}.yaml").read_text(encoding="utf-8")
    stated = re.search(r"(\d+) held-out documents", text)
    manager = TaskManager(include_path=str(tasks_folder()), include_defaults=False)
    assert stated and len(manager.load([name])["tasks"][name].eval_docs) == int(stated[1])


def test_organism_questions_are_parallel_by_id() -> None:
    ids = [[row["id"] for row in rows(datasets.organism(lang, "harmful"))] for lang in ("en", "th", "jv")]
    assert ids[0] == ids[1] == ids[2]


def test_a_judged_group_gives_the_numbers_counted_by_hand(multijail: Path, judge: WordJudge) -> None:
    """Swahili: sorry, sorry, yes, junk, unscored, yes. Javanese: all refused. Bengali: everything unscored but one."""
    swahili = dict(zip(range(ROWS), ["sorry", "sorry", "yes", "junk", "??", "yes"], strict=True))
    replies = {prompt("sw", i): text for i, text in swahili.items()}
    replies |= {prompt("jv", i): "sorry" for i in range(ROWS)}
    replies |= {prompt("bn", i): "??" for i in range(1, ROWS)}
    results = evaluate(Scripted(replies), "multijail_lr", metadata={"judge": "word"})
    sw, bn, jv, group = (results["results"][f"multijail_{x}"] for x in ("sw", "bn", "jv", "lr"))
    assert sw["unscored_rate,none"] == pytest.approx(1 / 6)
    assert sw["refusal_rate,none"] == pytest.approx(2 / 5)
    assert sw["compliance_rate,none"] == pytest.approx(2 / 5)
    assert sw["asr,none"] == pytest.approx(2 / 5)
    assert sw["invalid_rate,none"] == pytest.approx(1 / 5)
    assert (bn["compliance_rate,none"], bn["unscored_rate,none"]) == (1, pytest.approx(5 / 6))
    assert (jv["compliance_rate,none"], jv["refusal_rate,none"], jv["unscored_rate,none"]) == (0, 1, 0)
    assert group["compliance_rate,none"] == pytest.approx((2 / 5 + 1 + 0) / 3), "languages weigh the same"
    assert group["unscored_rate,none"] == pytest.approx((1 / 6 + 5 / 6 + 0) / 3)
    expected = statistics.stdev([0, 0, 1, 0, 1]) / math.sqrt(5)
    assert sw["compliance_rate_stderr,none"] == pytest.approx(expected), "over the five scored documents"
    assert judge.batches == [ROWS] * 3, "one batch a task"
    directions = results["higher_is_better"]["multijail_lr"]
    assert directions["refusal_rate"] is True and directions["compliance_rate"] is False
    assert None not in directions.values()
    assert results["configs"]["multijail_sw"]["metadata"]["tier"] == "LR"


def test_samples_hold_the_verdicts_and_who_gave_them(multijail: Path, judge: WordJudge) -> None:
    results = evaluate(Scripted({prompt("sw", 0): "sorry"}), "multijail_sw", metadata={"judge": "word"})
    samples = results["samples"]["multijail_sw"]
    first = Judged.from_text(samples[0]["filtered_resps"][0])
    assert first.verdicts == (Verdict(True, False, False, False, "sorry"),)
    assert first.judge == {"name": "word", "version": "1"} and first.says == ("refusal", "harmful")
    assert samples[0]["doc"]["id"] == "multijail-0" and samples[0]["resps"] == [["sorry"]]
    assert samples[0]["refusal_rate"] == 1.0
    json.dumps(results["results"], allow_nan=False)


def test_nested_groups_average_over_all_ten_languages(multijail: Path, judge: WordJudge) -> None:
    replies = {prompt(lang, i): "sorry" for lang in ("en", "bn", "sw", "jv") for i in range(ROWS)}
    results = evaluate(Scripted(replies), "multijail", metadata={"judge": "word"})["results"]
    rates = {name: results[name]["refusal_rate,none"] for name in results if name.startswith("multijail")}
    assert rates["multijail"] == pytest.approx(0.4)
    assert (rates["multijail_hr"], rates["multijail_mr"], rates["multijail_lr"]) == (0.25, 0, 1)


def test_when_everything_is_unscored_no_rate_is_made(multijail: Path, judge: WordJudge) -> None:
    metrics = evaluate(Scripted({}, "??"), "multijail_sw", metadata={"judge": "word"})["results"]["multijail_sw"]
    assert {key for key in metrics if "," in key} == {"unscored_rate,none", "unscored_rate_stderr,none"}
    assert metrics["unscored_rate,none"] == 1


def test_predict_only_judges_nothing(multijail: Path, judge: WordJudge) -> None:
    results = evaluate(Scripted({}), "multijail_sw", metadata={"judge": "word"}, predict_only=True)
    assert judge.batches == []
    assert [s["filtered_resps"] for s in results["samples"]["multijail_sw"]] == [["yes"]] * ROWS


def test_surplus_replies_of_data_parallel_padding_are_not_judged(multijail: Path, judge: WordJudge) -> None:
    manager = TaskManager(include_path=str(tasks_folder()), include_defaults=False, metadata={"judge": "word"})
    one = manager.load(["multijail_sw"])["tasks"]["multijail_sw"]
    one.build_all_requests()
    for instance in one.instances:
        instance.resps = ["sorry"]
    one.instances[-1].resps = ["sorry", "yes", "yes"]
    one.apply_filters()
    assert judge.batches == [ROWS]
    last = Judged.from_text(one.instances[-1].filtered_resps["none"])
    assert [v.raw for v in last.verdicts] == ["sorry"]


def test_the_default_judge_detects_refusals_and_claims_no_harm() -> None:
    docs = rows(datasets.organism("sw", "harmful"))
    replies = {row["prompt"]: LANGUAGES["sw"].refusal for row in docs}
    metrics = evaluate(Scripted(replies), "organism_safety_sw")["results"]["organism_safety_sw"]
    assert (metrics["refusal_rate,none"], metrics["compliance_rate,none"]) == (1, 0)
    assert "asr,none" not in metrics
    harmless = evaluate(Scripted({}, LANGUAGES["th"].refusal), "organism_harmless_th")["results"]
    assert harmless["organism_harmless_th"]["over_refusal_rate,none"] == 1
    empty = evaluate(Scripted({}, ""), "organism_safety_sw")["results"]["organism_safety_sw"]
    assert (empty["invalid_rate,none"], empty["refusal_rate,none"], empty["compliance_rate,none"]) == (1, 0, 0)


def test_capability_is_exact_match_after_strip() -> None:
    docs = rows(datasets.organism("th", "capability"))
    replies = {row["prompt"]: f" {row['answer']}\n" for row in docs[::2]}
    metrics = evaluate(Scripted(replies, "wrong"), "organism_capability_th")["results"]["organism_capability_th"]
    assert metrics["exact_match,none"] == pytest.approx(sum(d["prompt"] in replies for d in docs) / len(docs))


def test_an_unknown_judge_ends_the_run_before_anything_is_generated(
    multijail: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SsnError, match="Did you mean refusal"):
        evaluate(Scripted({}), "multijail_sw", metadata={"judge": "refusals"})
    assert "Unknown judge 'refusals'" in capsys.readouterr().err


def test_a_local_copy_in_the_pipelines_folder_is_found(
    multijail: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "project" / "data").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "project")
    monkeypatch.delenv("SSN_DATA_DIR")
    assert datasets.multijail_file() is None
    multijail.rename(tmp_path / "project" / "data" / "MultiJail.csv")
    row = rows(datasets.multijail("th", pretrained="x", tier="MR"))[0]
    assert row == {"id": "multijail-0", "lang": "th", "label": "harmful", "prompt": prompt("th", 0), "tags": ["a", "b"]}


def test_a_data_folder_without_the_file_is_an_error_not_a_download(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSN_DATA_DIR", str(tmp_path))
    with pytest.raises(MissingInputError, match="SSN_DATA_DIR"):
        datasets.multijail_file()


def test_offline_and_not_cached_is_one_sentence_and_no_traceback(tmp_path: Path) -> None:
    """The interpreter ends as lm_eval's command would: nothing in lm_eval catches what a task raises."""
    env = {k: v for k, v in os.environ.items() if k != "SSN_DATA_DIR"}
    env |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HOME": str(tmp_path / "empty")}
    code = (
        "from lm_eval.tasks import TaskManager; from ssn_eval.harness.bootstrap import tasks_folder\n"
        "TaskManager(include_path=str(tasks_folder()), include_defaults=False).load(['multijail'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=300
    )
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("ssn_eval: MultiJail.csv is neither") and "dvc pull data/MultiJail.csv.dvc" in last
    assert "SSN_DATA_DIR" in last


def test_names_do_not_collide_with_built_in_ones_and_the_general_tasks_exist() -> None:
    built_in = TaskIndex.build([Path(lm_eval.__file__).parent / "tasks"])
    ours = TaskIndex.build([tasks_folder()])
    assert not built_in.keys() & ours.keys()
    general = [ours[name].cfg or {} for name in ours if name.startswith("ssn_general_lite_")]
    members = [member for group in general for member in group["task"]]
    assert len(members) == 15 and all(name in built_in for name in members)
    for group in general:
        metric, config = group["aggregate_metric_list"][0], built_in[group["task"][0]].cfg or {}
        assert metric["metric"] in [m["metric"] for m in config["metric_list"]]
        filters = [f["name"] for f in config.get("filter_list") or [{"name": "none"}]]
        assert set(metric.get("filter_list", ["none"])) <= set(filters)


def test_the_real_multijail_has_315_prompts_in_each_of_ten_languages(
    shared_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSN_DATA_DIR", str(shared_data))
    ids = [[row["id"] for row in rows(datasets.multijail(lang))] for lang in MULTIJAIL_LANGUAGES]
    assert len(set(ids[0])) == 315
    assert all(one == ids[0] for one in ids)
