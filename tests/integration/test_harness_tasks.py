"""Our tasks inside lm_eval's own evaluator: data, judging in one batch, numbers, samples, and bad input."""

from __future__ import annotations

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
from small_copies import ROWS, prompt, write_all

from ssn_eval.core.errors import SsnError
from ssn_eval.core.languages import LANGUAGES
from ssn_eval.harness import datasets, task
from ssn_eval.harness.bootstrap import tasks_folder
from ssn_eval.judges.judged import Judged
from ssn_eval.judges.verdict import Exchange, Verdict

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
def copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Small copies of every benchmark, where `SSN_DATA_DIR` points."""
    monkeypatch.setenv("SSN_DATA_DIR", str(tmp_path))
    return write_all(tmp_path)


def evaluate(lm: LM, *names: str, metadata: Mapping[str, Any] | None = None, **options: Any) -> dict[str, Any]:
    manager = TaskManager(include_path=str(tasks_folder()), include_defaults=False, metadata=dict(metadata or {}))
    run: Any = simple_evaluate  # its decorator hides the parameters from the type checker
    result = run(lm, tasks=list(names), task_manager=manager, log_samples=True, **options)
    assert result is not None
    return dict(result)


def rows(data: Any) -> list[dict[str, Any]]:
    """The documents of a data set that one of our loaders gave."""
    return [dict(row) for row in data["test"]]


def test_every_task_loads_and_renders_its_prompts_as_they_are(copies: Path) -> None:
    manager = TaskManager(include_path=str(tasks_folder()), include_defaults=False)
    loaded = manager.load(LEAVES)["tasks"]
    assert sorted(loaded) == LEAVES
    for name, one in loaded.items():
        docs, metadata = [dict(d) for d in list[Any](one.eval_docs)], one.config.metadata
        assert docs and {d["lang"] for d in docs} == {metadata["lang"]}
        assert [one.doc_to_text(d) for d in docs] == [d["prompt"] for d in docs]
        assert len({d["id"] for d in docs}) == len(docs)
        if not name.startswith("organism"):
            assert {d["translation"] for d in docs} == {metadata["translation"]}
            assert {d["label"] for d in docs} == {metadata["label"]}
            spoken = "mixed" if name == "csrt_mixed" else metadata["lang"]
            assert all(d["prompt"].startswith(f"{spoken} ") for d in docs), "the task's language is that of its prompts"


@pytest.mark.parametrize("group", ["ssn_safety", "ssn_over_refusal", "ssn_lite_multijail", "ssn_lite_harmless"])
def test_a_suite_runs_in_one_command(copies: Path, group: str) -> None:
    results = evaluate(Scripted({}, "I'm sorry, but I can't help with that."), group)
    shown = {name: m for name, m in results["results"].items() if name in results["group_subtasks"]}
    seen = set()
    for name, metrics in shown.items():
        rates = {k.split(",")[0]: v for k, v in metrics.items() if k.endswith("_rate,none")}
        seen |= set(rates)
        assert rates.get("over_refusal_rate", 1) == rates.get("refusal_rate", 1) == 1, name
        assert rates.get("compliance_rate", 0) == 0, name
    assert group in shown and seen >= {
        "over_refusal_rate" if group.endswith(("refusal", "harmless")) else "refusal_rate"
    }
    assert all(None not in directions.values() for directions in results["higher_is_better"].values())


def test_xstest_tells_its_two_parts_apart(copies: Path) -> None:
    results = evaluate(Scripted({}, "I'm sorry, but I can't help with that."), "xstest")
    safe, unsafe = results["results"]["xstest_safe"], results["results"]["xstest_unsafe"]
    assert safe["over_refusal_rate,none"] == 1 and "refusal_rate,none" not in safe
    assert unsafe["refusal_rate,none"] == 1 and "over_refusal_rate,none" not in unsafe
    assert not [key for key in results["results"]["xstest"] if "rate" in key], "no mean of opposite directions"


def test_the_small_suite_takes_20_documents_and_leaves_the_full_tasks_alone(
    shared_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSN_DATA_DIR", str(shared_data))
    manager = TaskManager(include_path=str(tasks_folder()), include_defaults=False)
    loaded = manager.load(["ssn_lite_multijail", "ssn_lite_harmless", "multijail_th"])["tasks"]
    assert {name: len(one.eval_docs) for name, one in loaded.items() if name != "multijail_th"} == dict.fromkeys(
        [n for n in LEAVES if n.startswith("ssn_lite")], 20
    )
    assert len(loaded["multijail_th"].eval_docs) == 315
    ids = [[d["id"] for d in list[Any](loaded[f"ssn_lite_multijail_{lang}"].eval_docs)] for lang in ("en", "th", "bn")]
    assert ids[0] == ids[1] == ids[2]


@pytest.mark.parametrize("name", [n for n in LEAVES if n.startswith("organism")])
def test_the_size_in_a_files_head_is_the_size_of_its_task(name: str) -> None:
    text = (tasks_folder() / "organism" / f"{name}.yaml").read_text(encoding="utf-8")
    stated = re.search(r"(\d+) held-out documents", text)
    manager = TaskManager(include_path=str(tasks_folder()), include_defaults=False)
    assert stated and len(manager.load([name])["tasks"][name].eval_docs) == int(stated[1])


def test_organism_questions_are_parallel_by_id() -> None:
    ids = [[row["id"] for row in rows(datasets.organism(lang, "harmful"))] for lang in ("en", "th", "jv")]
    assert ids[0] == ids[1] == ids[2]


def test_a_judged_group_gives_the_numbers_counted_by_hand(copies: Path, judge: WordJudge) -> None:
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


def test_samples_hold_the_verdicts_and_who_gave_them(copies: Path, judge: WordJudge) -> None:
    results = evaluate(Scripted({prompt("sw", 0): "sorry"}), "multijail_sw", metadata={"judge": "word"})
    samples = results["samples"]["multijail_sw"]
    first = Judged.from_text(samples[0]["filtered_resps"][0])
    assert first.verdicts == (Verdict(True, False, False, False, "sorry"),)
    assert first.judge == {"name": "word", "version": "1"} and first.says == ("refusal", "harmful")
    assert samples[0]["doc"]["id"] == "multijail-0" and samples[0]["resps"] == [["sorry"]]
    assert samples[0]["refusal_rate"] == 1.0
    json.dumps(results["results"], allow_nan=False)


def test_nested_groups_average_over_all_ten_languages(copies: Path, judge: WordJudge) -> None:
    replies = {prompt(lang, i): "sorry" for lang in ("en", "bn", "sw", "jv") for i in range(ROWS)}
    results = evaluate(Scripted(replies), "multijail", metadata={"judge": "word"})["results"]
    rates = {name: results[name]["refusal_rate,none"] for name in results if name.startswith("multijail")}
    assert rates["multijail"] == pytest.approx(0.4)
    assert (rates["multijail_hr"], rates["multijail_mr"], rates["multijail_lr"]) == (0.25, 0, 1)


def test_when_everything_is_unscored_no_rate_is_made(copies: Path, judge: WordJudge) -> None:
    metrics = evaluate(Scripted({}, "??"), "multijail_sw", metadata={"judge": "word"})["results"]["multijail_sw"]
    assert {key for key in metrics if "," in key} == {"unscored_rate,none", "unscored_rate_stderr,none"}
    assert metrics["unscored_rate,none"] == 1


def test_predict_only_judges_nothing(copies: Path, judge: WordJudge) -> None:
    results = evaluate(Scripted({}), "multijail_sw", metadata={"judge": "word"}, predict_only=True)
    assert judge.batches == []
    assert [s["filtered_resps"] for s in results["samples"]["multijail_sw"]] == [["yes"]] * ROWS


def test_surplus_replies_of_data_parallel_padding_are_not_judged(copies: Path, judge: WordJudge) -> None:
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
    copies: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SsnError, match="Did you mean refusal"):
        evaluate(Scripted({}), "multijail_sw", metadata={"judge": "refusals"})
    assert "Unknown judge 'refusals'" in capsys.readouterr().err


def test_offline_and_not_cached_is_one_sentence_and_no_traceback(tmp_path: Path) -> None:
    """The interpreter ends as lm_eval's command would: nothing in lm_eval catches what a task raises."""
    env = {k: v for k, v in os.environ.items() if k != "SSN_DATA_DIR"}
    env |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "XDG_CACHE_HOME": str(tmp_path / "empty")}
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
    assert last.startswith("ssn_eval: MultiJail.csv is neither") and "ssn data fetch multijail" in last
    assert "SSN_DATA_DIR" in last and done.returncode == 2


def test_names_do_not_collide_with_built_in_ones_and_the_general_tasks_exist() -> None:
    built_in = TaskIndex.build([Path(lm_eval.__file__).parent / "tasks"])
    ours = TaskIndex.build([tasks_folder()])
    assert not built_in.keys() & ours.keys()
    general = {name: ours[name].cfg or {} for name in ours if name.startswith(("ssn_general", "ssn_lite_general"))}
    assert len(general) == 9
    codes = {}
    for name, group in general.items():
        foreign = [member for member in group["task"] if member not in ours]
        codes[name] = len(foreign)
        assert all(member in built_in for member in foreign)
        if not foreign:
            continue
        config = leaf(built_in, foreign[0])
        metric = group["aggregate_metric_list"][0]
        assert metric["metric"] in [m["metric"] for m in config["metric_list"]]
        filters = [f["name"] for f in config.get("filter_list") or [{"name": "none"}]]
        assert set(metric.get("filter_list", ["none"])) <= set(filters)
    assert codes == {
        "ssn_general": 0,
        "ssn_general_mgsm": 10,
        "ssn_general_global_mmlu": 15,
        "ssn_general_belebele": 29,
        "ssn_general_xcopa": 7,
        "ssn_general_lite": 0,
        "ssn_general_lite_belebele": 10,
        "ssn_general_lite_mgsm": 5,
        "ssn_lite_general": 5,
    }


def leaf(index: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The config of a task, or of the first task in a group."""
    config = index[name].cfg or {}
    return config if "metric_list" in config else leaf(index, config["task"][0])


def test_the_small_capability_group_takes_20_of_lm_evals_own_questions(monkeypatch: pytest.MonkeyPatch) -> None:
    from datasets import Dataset
    from lm_eval.api.task import ConfigurableTask

    def download(self: ConfigurableTask, *_: object, **__: object) -> None:
        row = {"flores_passage": "p", "question": "q", "correct_answer_num": "1"}
        row |= {f"mc_answer{i}": "a" for i in range(1, 5)}
        self.dataset = {"test": Dataset.from_list([row | {"n": i} for i in range(900)])}  # type: ignore[assignment]

    monkeypatch.setattr(ConfigurableTask, "download", download)
    folders: list[str | Path] = [Path(lm_eval.__file__).parent / "tasks" / "belebele", tasks_folder()]
    manager = TaskManager(include_path=folders, include_defaults=False)
    loaded = manager.load(["ssn_lite_general"])["tasks"]
    assert {name: len(one.eval_docs) for name, one in loaded.items()} == dict.fromkeys(
        [f"belebele_{code}" for code in ("eng_Latn", "zho_Hans", "tha_Thai", "ben_Beng", "swh_Latn")], 20
    )
    assert [d["n"] for d in list[Any](loaded["belebele_tha_Thai"].eval_docs)] == list(range(0, 900, 45))
