"""`ssn data add`: a user's own table becomes a prompt file and lm_eval tasks, without a line of YAML written by hand."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, cast

import pytest
from click.testing import CliRunner, Result
from lm_eval import evaluator
from lm_eval.config.evaluate_config import EvaluatorConfig
from test_harness_tasks import Scripted

from ssn_eval.cli import main
from ssn_eval.core.errors import SsnError
from ssn_eval.prompts.jsonl import read_jsonl
from ssn_eval.prompts.reading import read_prompts
from ssn_eval.prompts.tables import read_table

WIDE = "id,en,th,note\n1,How to cook?,ทำอาหารอย่างไร,x\n2,Where is Rome?,โรมอยู่ที่ไหน,y\n"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SSN_DATA_DIR", raising=False)
    return tmp_path


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def rows(*items: dict[str, object]) -> str:
    return "".join(json.dumps(item, ensure_ascii=False) + "\n" for item in items)


def add(*words: str) -> Result:
    return CliRunner().invoke(main, ["data", "add", *words])


def results(*tasks: str, include: str | None = None) -> dict[str, Any]:
    """What lm_eval's own command does with `--tasks` and `--include_path`, with a scripted model."""
    config = EvaluatorConfig(tasks=list(tasks), include_path=include)
    manager = config.process_tasks()
    found: Any = evaluator.simple_evaluate(
        model=Scripted({}), tasks=cast("Any", config.tasks), task_manager=manager, bootstrap_iters=0, log_samples=True
    )
    return {**found["results"], "samples": {name: len(docs) for name, docs in found["samples"].items()}}


def test_a_column_for_each_language_becomes_prompts_and_tasks(here: Path) -> None:
    write(here / "own.csv", WIDE)
    done = add("own.csv", "--label", "harmless", "--out", "own", "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout) == {
        "out": "own",
        "prompts": "own/prompts.jsonl",
        "tasks": ["own_en", "own_th"],
        "languages": ["en", "th"],
        "count": 4,
    }
    prompts = read_prompts("own/prompts.jsonl")
    assert [(p.id, p.lang, p.label) for p in prompts] == [
        *[("1", "en", "harmless"), ("2", "en", "harmless"), ("1", "th", "harmless"), ("2", "th", "harmless")]
    ]
    assert prompts[2].prompt == "ทำอาหารอย่างไร"


def test_lm_eval_runs_the_folder_one_file_and_the_group_also_after_a_move(here: Path) -> None:
    write(here / "own.csv", WIDE)
    assert add("own.csv", "--label", "harmless", "--out", "own").exit_code == 0
    shutil.move("own", here / "elsewhere")
    whole = results("elsewhere")
    assert whole["samples"] == {"own_en": 2, "own_th": 2}
    assert "over_refusal_rate,none" in whole["own_en"] and "refusal_rate,none" not in whole["own_en"]
    assert results("elsewhere/own_th.yaml")["samples"] == {"own_th": 2}
    assert "over_refusal_rate,none" in results("own", include="elsewhere")["own"]


def test_a_prompt_column_with_labels_gives_tasks_of_both_kinds_and_leaves_out_what_training_uses(here: Path) -> None:
    write(
        here / "mine.jsonl",
        rows(
            {"id": 1, "label": "harmful", "prompt": "a", "split": "train", "tags": ["theft"]},
            {"id": 2, "label": "harmful", "prompt": "b", "split": "test"},
            {"id": 3, "label": "harmless", "prompt": "c"},
        ),
    )
    assert add("mine.jsonl", "--lang", "sw", "--out", "own", "--name", "mine").exit_code == 0
    assert [(p.id, p.split, p.tags) for p in read_jsonl(Path("own/prompts.jsonl"))] == [
        *[("1", "train", ("theft",)), ("2", "test", ()), ("3", None, ())]
    ]
    found = results("own")
    assert found["samples"] == {"mine_harmful": 1, "mine_harmless": 1}
    assert "compliance_rate,none" in found["mine_harmful"] and "over_refusal_rate,none" in found["mine_harmless"]


def test_rows_without_ids_are_numbered_alike_in_every_language(here: Path) -> None:
    prompts = read_table(write(here / "own.csv", "th,en\nก,a\nข,b\n"), label="harmful", langs=["en", "th"])
    assert [(p.id, p.lang) for p in prompts] == [("own-0", "en"), ("own-1", "en"), ("own-0", "th"), ("own-1", "th")]


def test_indonesian_and_ids_are_told_apart(here: Path) -> None:
    assert {p.lang for p in read_table(write(here / "a.csv", WIDE), label="harmful")} == {"en", "th"}
    text = "id,lang,prompt\n1,id,apa\n1,en,what\n"
    prompts = read_table(write(here / "b.csv", text), label="harmful", langs=["id"])
    assert [(p.id, p.lang, p.prompt) for p in prompts] == [("1", "id", "apa")]


@pytest.mark.parametrize(
    ("name", "text", "words", "said"),
    [
        ("t.csv", WIDE, "--out own", "has no column label: say with --label"),
        (
            "t.csv",
            WIDE,
            "--label harmful --langs en,zh --out own",
            "has no column zh; its columns are id, en, th, note",
        ),
        ("t.csv", WIDE, "--label harmful --lang en --out own", "--lang goes with a column prompt, which t.csv lacks"),
        ("t.csv", WIDE, "--label harmful --langs tx --out own", "Unknown language 'tx'. Did you mean"),
        ("t.csv", "id,text\n1,a\n", "--label harmful --out own", "has neither a column prompt nor one named as a lang"),
        ("t.csv", "id,en\n1,a\n1,b\n", "--label harmful --out own", "holds the id '1' twice in en"),
        ("t.csv", "id,en,th\n1, ,ก\n", "--label harmful --out own", "has no text for the id '1' in en"),
        ("t.csv", "id,en\n,a\n", "--label harmful --out own", "row 1 has no text in the column id"),
        ("t.csv", "id,en\n1,a,b\n", "--label harmful --out own", "its row 1 has 3 cells, and the header 2"),
        ("t.csv", "id,en\n", "--label harmful --out own", "it has a header and no row"),
        ("t.csv", "", "--label harmful --out own", "t.csv"),
        ("t.csv", "prompt\na\n", "--label harmful --out own", "has no column lang: say with --lang"),
        ("t.csv", "prompt,lang\na,en\n", "--label harmful --lang en --out own", "has a column lang, so --lang"),
        ("t.csv", "prompt,lang\na,en\n", "--label harmful --langs th --out own", "has no prompt in th; it has en"),
        ("t.csv", "prompt,lang\na,xx\n", "--label harmful --out own", "Unknown language 'xx'"),
        ("t.csv", "en,label\na,bad\n", "--out own", "row 1 has the label 'bad'; expected one of harmful, harmless"),
        ("t.csv", "en,label\na,harmful\n", "--label harmful --out own", "has a column label, so --label"),
        (
            "t.jsonl",
            '{"prompt": "bad \\ud83d half"}\n',
            "--label harmful --lang en --out own",
            r"surrogate pair (\ud83d)",
        ),
        ("t.jsonl", '{"prompt": 3}\n', "--label harmful --lang en --out own", "row 1 has no text in the column prompt"),
        ("t.jsonl", "\n", "--label harmful --lang en --out own", "holds no prompt"),
        ("t.txt", "a", "--label harmful --lang en --out own", "is neither .csv nor .jsonl"),
        ("t.csv", WIDE, "--label harmful --out full", "full is there already and not empty; nothing was overwritten"),
        ("t.csv", WIDE, "--label harmful --name multijail --out own", "A task cannot be called 'multijail'"),
        ("t.csv", WIDE, "--label harmful --name A/b --out own", "A task cannot be called 'A/b'"),
    ],
)
def test_a_mistake_is_one_sentence_and_nothing_is_written(
    here: Path, name: str, text: str, words: str, said: str
) -> None:
    write(here / name, text)
    (here / "full").mkdir()
    write(here / "full/kept", "kept")
    done = add(name, *words.split())
    assert done.exit_code == 2 and said in done.stderr and done.stderr.count("\n") == 1, done.output
    assert sorted(p.name for p in here.iterdir()) == sorted(["full", name])
    assert [p.name for p in (here / "full").iterdir()] == ["kept"]


def test_a_file_that_is_not_there_is_one_sentence(here: Path) -> None:
    done = add("gone.csv", "--label", "harmful", "--out", "own")
    assert (done.exit_code, done.stderr) == (
        2,
        "Error: No file at gone.csv; expected a table of prompts, .csv or .jsonl.\n",
    )


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.csv", "id,source,tags,en\n0,x,[],a\n0,x,[],b\n", "holds the id 'multijail-0' twice in en"),
        ("a.csv", 'id,source,tags,en\n0,x,[]," "\n', "has no text for the id 'multijail-0' in en"),
        ("a.csv", "id,en\n0,a\n", "its header lacks tags"),
        ("a.jsonl", rows({"id": "a", "lang": "en", "label": "harmful", "prompt": " "}), "no text for the id 'a' in en"),
        ("a.jsonl", '{"id":"a","lang":"en","label":"harmful","prompt":"x \\ud83d"}\n', "half of a surrogate pair"),
        ("a.jsonl", 2 * rows({"id": "a", "lang": "en", "label": "harmful", "prompt": "x"}), "the id 'a' twice in en"),
    ],
)
def test_every_door_refuses_the_same_prompts(here: Path, name: str, text: str, said: str) -> None:
    write(here / name, text)
    pairs = ["pairs", "--prompts", name, "--langs", "en", "--replay", "0", "--out", "pairs.jsonl"]
    identify = ["identify", "--model", "gone", "--prompts", name, "--lang", "en", "--label", "harmful"]
    for words in (pairs, [*identify, "--out", "s.safetensors"]):
        done = CliRunner().invoke(main, words)
        assert done.exit_code == 2 and said in done.stderr and done.stderr.count("\n") == 1, done.output
    with pytest.raises(SsnError, match=said.replace("(", r"\(")):
        read_prompts(name)
    assert [p.name for p in here.iterdir()] == [name]
