"""The task files: exactly these, each documented, tiers and directions consistent. No data set is read here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from lm_eval.tasks import TaskManager
from lm_eval.tasks._yaml_loader import load_yaml

from ssn_eval.core.languages import by_tier, language
from ssn_eval.harness.bootstrap import tasks_folder
from ssn_eval.organism.lexicon import ORGANISM_LANGUAGES
from ssn_eval.prompts.benchmarks.catalogue import SOURCES

FILES = sorted(tasks_folder().glob("*/*.yaml"))
TEMPLATES = [*sorted(tasks_folder().glob("*/*_yaml")), *sorted(tasks_folder().glob("*_yaml"))]

BENCHMARKS = {  # written out, so that a language that falls out of a table is noticed
    "multijail": "en zh it vi ar ko th bn sw jv",
    "advbench_x": "en zh it ja ar ko th hu bn sw af ne",
    "xsafety": "en zh de es fr ja ru ar hi bn",
    "polyrefuse_harmful": "en zh it de es fr ja nl pl ru ar ko th yo",
    "polyrefuse_harmless": "en zh it de es fr ja nl pl ru ar ko th yo",
    "aya_redteaming": "en es fr ru ar hi sr tl",
    "linguasafe_harmful": "en zh ar ru sr th ko vi cs hu bn ms",
    "linguasafe_harmless": "en zh ar ru sr th ko vi cs hu bn ms",
}
ENGLISH = {  # tasks in English alone, which have no language in their names
    **dict.fromkeys(("xstest_unsafe", "jbb_harmful", "harmbench", "strongreject"), "harmful"),
    **dict.fromkeys(("xstest_safe", "jbb_benign", "orbench_hard", "oktest"), "harmless"),
}
ORGANISM = ("organism_safety", "organism_harmless", "organism_capability")
LITE = {"ssn_lite_multijail": "en zh th bn sw", "ssn_lite_harmless": "en zh th"}
AVERAGED: dict[str, list[str]] = {  # groups with a mean
    **{name: [f"{name}_{tier.lower()}" for tier in by_tier(codes.split())] for name, codes in BENCHMARKS.items()},
    **{
        f"{name}_{tier.lower()}": [f"{name}_{code}" for code in members]
        for name, codes in BENCHMARKS.items()
        for tier, members in by_tier(codes.split()).items()
    },
    "csrt": ["csrt_mixed"],
    **{name: [f"{name}_{code}" for code in codes.split()] for name, codes in LITE.items()},
    **{name: [f"{name}_{code}" for code in ORGANISM_LANGUAGES] for name in ORGANISM},
}
LISTS = {  # groups of benchmarks that have no mean in common
    "xstest": ["xstest_safe", "xstest_unsafe"],
    "jbb": ["jbb_harmful", "jbb_benign"],
    "ssn_safety": [
        *("multijail", "advbench_x", "xsafety", "polyrefuse_harmful", "aya_redteaming", "csrt"),
        *("jbb_harmful", "harmbench", "strongreject"),
    ],
    "ssn_over_refusal": ["xstest", "polyrefuse_harmless", "jbb_benign", "orbench_hard", "oktest"],
    "ssn_suite": ["ssn_safety", "ssn_over_refusal", "ssn_general"],
    "ssn_suite_lite": ["ssn_lite_multijail", "ssn_lite_harmless", "ssn_lite_general"],
    "ssn_general": ["ssn_general_mgsm", "ssn_general_global_mmlu", "ssn_general_belebele", "ssn_general_xcopa"],
    "ssn_general_lite": ["ssn_general_lite_belebele", "ssn_general_lite_mgsm"],
}
FOREIGN = [  # groups of lm_eval's own tasks
    *("ssn_general_mgsm", "ssn_general_global_mmlu", "ssn_general_belebele", "ssn_general_xcopa", "ssn_lite_general"),
    *("ssn_general_lite_belebele", "ssn_general_lite_mgsm"),
]
GROUPS = AVERAGED | LISTS
TASKS = sorted({t for members in GROUPS.values() for t in members} - {*GROUPS, *FOREIGN})
JUDGED = [t for t in TASKS if not t.startswith("organism_capability")]
OURS = [t for t in TASKS if not t.startswith("organism")]
TRANSLATIONS = {"original", "human", "machine", "unstated", "code-switched", "written", "mixed"}


def raw(path: Path) -> dict[str, Any]:
    """A task file with its includes, functions left as text."""
    return load_yaml(path, resolve_func=False)


BY_NAME: Mapping[str, dict[str, Any]] = {f.stem.lstrip("_"): raw(f) for f in FILES}


def test_the_index_holds_exactly_our_tasks_and_groups() -> None:
    """lm_eval drops a broken file without a word, so the list is spelt out."""
    manager = TaskManager(include_path=str(tasks_folder()), include_defaults=False)
    assert manager.all_subtasks == TASKS
    assert manager.all_groups == sorted([*GROUPS, *FOREIGN])
    assert manager.all_tags == []
    assert len(manager.all_tasks) == len(FILES)


def test_the_benchmarks_are_those_of_the_catalogue_in_all_their_languages() -> None:
    languages: dict[str, set[str]] = {}
    for task in OURS:
        metadata = BY_NAME[task]["metadata"]
        languages.setdefault(metadata["benchmark"], set()).add(metadata["lang"])
        assert metadata["label"] in SOURCES[metadata["benchmark"]].labels
    assert languages == {name: set(source.languages) for name, source in SOURCES.items() if not source.is_training}


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_a_file_is_named_after_what_it_defines(path: Path) -> None:
    data = raw(path)
    assert (data.get("group") or data["task"]) == path.stem.lstrip("_")


def head(path: Path) -> str:
    lines = path.read_text(encoding="utf-8").splitlines()
    return "\n".join(line for line in lines[: [line.startswith("#") for line in lines].index(False)])


@pytest.mark.parametrize("path", [*FILES, *TEMPLATES], ids=lambda p: p.name)
def test_a_file_opens_with_source_licence_and_size(path: Path) -> None:
    text = head(path)
    assert "icence" in text, "no licence"
    assert "Source" in text or "data/organism" in text or "sources" in text, "no source"
    assert "documents" in text or "Size" in text or "sizes" in text, "no size"
    if path.suffix == ".yaml":
        assert any(c.isdigit() for c in text)


@pytest.mark.parametrize("task", OURS)
def test_a_task_file_opens_with_a_note_on_its_columns_and_how_it_was_translated(task: str) -> None:
    (path,) = [f for f in FILES if f.stem == task]
    text, translation = head(path).replace("\n# ", " "), BY_NAME[task]["metadata"]["translation"]
    said = {
        "original": ("original", "written", "contrasts", "safe prompts"),
        "human": ("by native speakers", "by professional translators"),
        "machine": ("translated by machine",),
        "unstated": ("is not stated",),
        "code-switched": ("no single language",),
        "mixed": ("translated, transcreated and native",),
    }
    assert "Columns: " in text
    assert any(words in text.split("This file: ")[1] for words in said[translation])


@pytest.mark.parametrize("group", AVERAGED)
def test_a_group_has_its_members_and_weighs_them_equally(group: str) -> None:
    data = BY_NAME[group]
    assert data["task"] == AVERAGED[group]
    assert {m["weight_by_size"] for m in data["aggregate_metric_list"]} == {False}


@pytest.mark.parametrize("group", LISTS)
def test_what_has_no_common_direction_has_no_mean(group: str) -> None:
    assert BY_NAME[group]["task"] == LISTS[group]
    assert "aggregate_metric_list" not in BY_NAME[group]


@pytest.mark.parametrize("group", AVERAGED)
def test_a_group_aggregates_every_metric_of_its_tasks_and_their_directions_agree(group: str) -> None:
    leaves = [t for m in AVERAGED[group] for t in AVERAGED.get(m, [m])]
    directions = [{m["metric"]: m["higher_is_better"] for m in BY_NAME[t]["metric_list"]} for t in leaves]
    assert all(d == directions[0] for d in directions)
    assert {m["metric"] for m in BY_NAME[group]["aggregate_metric_list"]} == set(directions[0])


@pytest.mark.parametrize("name", BENCHMARKS)
def test_tier_groups_are_those_that_have_a_language_and_say_their_tier(name: str) -> None:
    tiers = by_tier(BENCHMARKS[name].split())
    assert {f"{name}_{t.lower()}" for t in tiers} == {
        g for g in BY_NAME if g[:-2] == f"{name}_" and "group" in BY_NAME[g]
    }
    assert all(BY_NAME[f"{name}_{t.lower()}"]["metadata"]["tier"] == t for t in tiers)


def test_directions_of_the_metrics() -> None:
    metrics = [m for t in TASKS for m in BY_NAME[t]["metric_list"]]
    assert {m["metric"] for m in metrics if m["higher_is_better"]} == {"refusal_rate", "exact_match"}
    assert {m["metric"] for m in metrics if not m["higher_is_better"]} == {
        *("compliance_rate", "asr", "over_refusal_rate", "other_language_rate", "invalid_rate", "unscored_rate"),
        *("cut_off_rate", "thought_cut_off_rate", "harm_score"),
    }
    assert {m["aggregation"] for m in metrics} == {"mean"}, "only mean has an analytic standard error in lm_eval"


@pytest.mark.parametrize("task", TASKS)
def test_a_task_says_its_language_and_tier_and_generates_greedily_without_stop_words(task: str) -> None:
    data = BY_NAME[task]
    metadata = data["metadata"]
    if task == "csrt_mixed":
        assert (metadata["lang"], metadata["tier"]) == ("en", "mixed")
    else:
        assert metadata["tier"] == language(metadata["lang"]).tier
        assert metadata["lang"] == ("en" if task in ENGLISH else task.rsplit("_", 1)[1])
    assert metadata["version"] == 1.0 and metadata["translation"] in TRANSLATIONS
    tokens = 48 if task.startswith("organism") else 256 if task.startswith("ssn_lite") else 512
    assert data["generation_kwargs"] == {"until": [], "max_gen_toks": tokens, "do_sample": False}
    assert data["doc_to_text"] == "prompt", "the field itself: a template could alter a prompt"


@pytest.mark.parametrize("task", JUDGED)
def test_prompts_that_should_be_refused_are_never_scored_as_harmless(task: str) -> None:
    data = BY_NAME[task]
    harmless = ("polyrefuse_harmless", "linguasafe_harmless", "ssn_lite_harmless", "organism_harmless")
    want = ENGLISH.get(task, "harmless" if task.startswith(harmless) else "harmful")
    assert data["process_results"].endswith(f"ssn_eval.harness.scoring.{want}")
    assert data["class"].endswith("ssn_eval.harness.task.JudgedTask")
    assert data["metadata"]["label"] == want


@pytest.mark.parametrize("task", [t for t in TASKS if t.startswith("organism_capability")])
def test_capability_is_not_judged(task: str) -> None:
    assert "process_results" not in BY_NAME[task] and "class" not in BY_NAME[task]


def test_the_small_suite_says_itself_how_many_documents_it_takes() -> None:
    lite = [t for t in TASKS if t.startswith("ssn_lite")]
    assert len(lite) == 8
    assert {BY_NAME[t]["dataset_kwargs"]["limit"] for t in lite} == {20}
    assert BY_NAME["ssn_lite_general"]["process_docs"].endswith("ssn_eval.harness.datasets.laptop_sample")
    assert all("dataset_kwargs" not in BY_NAME[t] for t in OURS if t not in lite)


def test_nothing_but_yaml_in_the_task_folders() -> None:
    others = [p for p in tasks_folder().rglob("*") if p.is_file() and p not in [*FILES, *TEMPLATES]]
    assert [p.name for p in others if "__pycache__" not in p.parts] == ["__init__.py"]
