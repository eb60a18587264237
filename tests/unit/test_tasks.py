"""The task files: exactly these, each documented, tiers and directions consistent. No data set is read here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from lm_eval.tasks import TaskManager
from lm_eval.tasks._yaml_loader import load_yaml

from ssn_eval.harness.bootstrap import tasks_folder
from ssn_eval.languages import by_tier, language
from ssn_eval.organism.lexicon import ORGANISM_LANGUAGES
from ssn_eval.prompts import MULTIJAIL_LANGUAGES

FILES = sorted(tasks_folder().glob("*/*.yaml"))
TEMPLATES = sorted(tasks_folder().glob("*/*_yaml"))
ORGANISM = ("organism_safety", "organism_harmless", "organism_capability")
GROUPS = {
    "multijail": ["multijail_hr", "multijail_mr", "multijail_lr"],
    **{
        f"multijail_{t.lower()}": [f"multijail_{c}" for c in codes] for t, codes in by_tier(MULTIJAIL_LANGUAGES).items()
    },
    **{name: [f"{name}_{code}" for code in ORGANISM_LANGUAGES] for name in ORGANISM},
}
TASKS = [t for name, members in GROUPS.items() for t in members if t not in GROUPS]
GENERAL = ["ssn_general_lite", "ssn_general_lite_belebele", "ssn_general_lite_mgsm"]


def raw(path: Path) -> dict[str, Any]:
    """A task file with its includes, functions left as text."""
    return load_yaml(path, resolve_func=False)


BY_NAME: Mapping[str, dict[str, Any]] = {str(raw(f).get("task_alias") or f.stem.lstrip("_")): raw(f) for f in FILES}


def test_the_index_holds_exactly_our_tasks_and_groups() -> None:
    """lm_eval drops a broken file without a word, so the list is spelt out."""
    manager = TaskManager(include_path=str(tasks_folder()), include_defaults=False)
    assert manager.all_subtasks == sorted(TASKS)
    assert manager.all_groups == sorted([*GROUPS, *GENERAL])
    assert manager.all_tags == []
    assert len(manager.all_tasks) == len(FILES)


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_a_file_is_named_after_what_it_defines(path: Path) -> None:
    data = raw(path)
    assert (data.get("group") or data["task"]) == path.stem.lstrip("_")


@pytest.mark.parametrize("path", [*FILES, *TEMPLATES], ids=lambda p: p.name)
def test_a_file_opens_with_source_licence_and_size(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    head = "\n".join(line for line in lines[: [line.startswith("#") for line in lines].index(False)])
    assert "icence" in head, "no licence"
    assert "Source" in head or "data/organism" in head, "no source"
    assert any(c.isdigit() for c in head) and ("documents" in head or "Size" in head), "no size"


@pytest.mark.parametrize("group", GROUPS)
def test_a_group_has_its_members_and_weighs_them_equally(group: str) -> None:
    data = BY_NAME[group]
    assert data["task"] == GROUPS[group]
    assert {m["weight_by_size"] for m in data["aggregate_metric_list"]} == {False}


@pytest.mark.parametrize("group", GROUPS)
def test_a_group_aggregates_every_metric_of_its_tasks_and_their_directions_agree(group: str) -> None:
    leaves = [t for m in GROUPS[group] for t in GROUPS.get(m, [m])]
    directions = [{m["metric"]: m["higher_is_better"] for m in BY_NAME[t]["metric_list"]} for t in leaves]
    assert all(d == directions[0] for d in directions)
    assert {m["metric"] for m in BY_NAME[group]["aggregate_metric_list"]} == set(directions[0])


def test_directions_of_the_metrics() -> None:
    metrics = [m for t in TASKS for m in BY_NAME[t]["metric_list"]]
    assert {m["metric"] for m in metrics if m["higher_is_better"]} == {"refusal_rate", "exact_match"}
    assert {m["metric"] for m in metrics if not m["higher_is_better"]} == {
        *("compliance_rate", "asr", "over_refusal_rate", "invalid_rate", "unscored_rate")
    }
    assert {m["aggregation"] for m in metrics} == {"mean"}, "only mean has an analytic standard error in lm_eval"


@pytest.mark.parametrize("task", TASKS)
def test_a_task_says_its_language_and_tier_and_generates_greedily_without_stop_words(task: str) -> None:
    data = BY_NAME[task]
    code = task.rsplit("_", 1)[1]
    assert data["metadata"]["lang"] == code
    assert data["metadata"]["tier"] == language(code).tier
    assert data["metadata"]["version"] == 1.0 and data["metadata"]["translation"] in {"original", "human", "written"}
    tokens = 512 if task.startswith("multijail") else 48
    assert data["generation_kwargs"] == {"until": [], "max_gen_toks": tokens, "do_sample": False}
    assert data["doc_to_text"] == "prompt", "the field itself: a template could alter a prompt"


@pytest.mark.parametrize("task", TASKS)
def test_prompts_that_should_be_refused_are_never_scored_as_harmless(task: str) -> None:
    data = BY_NAME[task]
    want = "harmful" if task.startswith(("multijail", "organism_safety")) else data["metadata"]["label"]
    if want == "capability":
        assert "process_results" not in data and "class" not in data
    else:
        assert data["process_results"].endswith(f"ssn_eval.harness.scoring.{want}")
        assert data["metadata"].get("label", "harmful") == want


def test_nothing_but_yaml_in_the_task_folders() -> None:
    others = [p for p in tasks_folder().rglob("*") if p.is_file() and p not in [*FILES, *TEMPLATES]]
    assert [p.name for p in others if "__pycache__" not in p.parts] == ["__init__.py"]
