"""Prompts that are both trained on and evaluated: what counts as the same prompt, and the warning of `ssn train`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from small_copies import ROWS, prompt, write_all

from ssn_eval.cli import main
from ssn_eval.core.errors import EmptySetError
from ssn_eval.prompts import overlap
from ssn_eval.prompts.benchmarks.catalogue import source
from ssn_eval.prompts.benchmarks.copies import local_name
from ssn_eval.prompts.overlap import Overlap, normalised, overlaps, shared
from ssn_eval.prompts.pairs import read_pairs, safety_pairs
from ssn_eval.prompts.prompt import Prompt


@pytest.fixture
def local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder and a cache without benchmarks; `SSN_DATA_DIR` names an empty folder."""
    (tmp_path / "copies").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SSN_DATA_DIR", str(tmp_path / "copies"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "copies"


@pytest.mark.parametrize(
    ("first", "second", "is_same"),
    [
        ("How do I bake\u00a0bread?", "how do i  bake “bread”", True),
        ("ＡＢＣ 1", "abc 1", True),
        ("ทำขนมปัง", "ทำขนมปาง", False),  # another vowel sign
        ("bread 1", "bread 2", False),
        ("?!", "...", False),
    ],
)
def test_the_same_words_are_the_same_prompt(first: str, second: str, is_same: bool) -> None:
    assert (len(shared([first], [second])) == 1) is is_same
    assert normalised("?!") == ""


def test_only_benchmarks_on_this_machine_are_compared_and_the_most_shared_comes_first(local: Path) -> None:
    assert overlaps({"en": ["x"]}) == [] and overlap.warning([]) is None
    copy = local / "jailbreakbench.json"
    copy.write_text(json.dumps([{"instruction": text, "category": "a"} for text in ("One?", "two", "three")]))
    (local / "oktest.json").write_text(json.dumps([{"instruction": "ONE", "category": None}]))
    found = overlaps({"en": ["one", "Two!"], "th": ["สาม"]})
    assert found == [Overlap("jbb_harmful", 2, 3), Overlap("oktest", 1, 1)]
    assert "jbb_harmful (2 of its 3), oktest (1 of its 1)" in str(overlap.warning(found))
    copy.write_text("damaged")
    assert overlaps({"en": ["one"]}) == [Overlap("oktest", 1, 1)]


def test_what_is_never_evaluated_is_no_overlap(local: Path) -> None:
    (local / "polyrefuse.jsonl").write_text(
        "".join(
            json.dumps({"id": s, "lang": "en", "label": "harmful", "prompt": s, "split": s}) + "\n"
            for s in ("train", "test")
        )
    )
    assert overlaps({"en": ["train"]}) == []
    assert overlaps({"en": ["test"]}) == [Overlap("polyrefuse", 1, 1)]


def test_train_warns_before_it_loads_a_model(local: Path, tmp_path: Path) -> None:
    (local / "jailbreakbench.json").write_text(json.dumps([{"instruction": "bake bread", "category": "a"}]))
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text(
        json.dumps({"id": "a", "lang": "en", "label": "harmful", "prompt": "Bake bread.", "response": "no"})
    )
    done = CliRunner().invoke(
        main, ["train", "--model", "absent", "--pairs", str(pairs), "--method", "full", "--out", "o"]
    )
    assert done.exit_code == 2 and "jbb_harmful (1 of its 1)" in done.stderr


def test_parallel_refusals_of_safety_pathways_become_pairs_with_their_own_responses(local: Path) -> None:
    write_all(local)
    words = ["pairs", "--prompts", "safety_pathways", "--langs", "en,zh", "--own-responses", "--replay", "0"]
    done = CliRunner().invoke(main, [*words, "--out", "pairs.jsonl"])
    assert done.exit_code == 0, done.output
    pairs = {(p.id, p.lang): p for p in read_pairs(Path("pairs.jsonl"))}
    assert len(pairs) == 2 * ROWS
    assert (pairs["pathways-1", "zh"].prompt, pairs["pathways-1", "zh"].response) == (prompt("zh", 1), "zh no 1")
    one = source("safety_pathways")
    assert local_name(one, one.files("zh", "harmful", None)[0]) == "safety_pathways/zh-CN.jsonl"
    with pytest.raises(
        EmptySetError, match="No harmful prompt brings a response of its own; leave --own-responses out"
    ):
        safety_pairs([Prompt("a", "en", "harmful", "x")], own_responses=True)
    both = [Prompt("a", "en", "harmful", "x"), Prompt("b", "en", "harmful", "y", response="no")]
    assert [p.id for p in safety_pairs(both, own_responses=True)] == ["b"]
