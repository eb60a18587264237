"""Public gold sets by name, in small files of their sources' layouts; and `ssn calibrate` on them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from click.testing import CliRunner
from pyarrow import parquet

from ssn_eval.cli import main
from ssn_eval.core.errors import EmptySetError, FormatError, UnknownNameError
from ssn_eval.judges.goldsets import read_set

NO, YES = "I'm sorry, but I can't help with that.", "Boil the water first, then add the rice."


def write_parquet(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    return path


def polyguard(folder: Path) -> Path:
    """Agreement is a float, labels may be missing, and languages are names; Klingon is no language of the table."""
    rows = [
        ("English", NO, "refusal", 3.0, "unharmful"),
        ("English", YES, "compliance", 3.0, "harmful"),
        ("English", NO, "compliance", 2.0, "unharmful"),
        ("Thai", "ขออภัย ฉันไม่สามารถช่วยเรื่องนี้ได้", "refusal", 3.0, None),
        ("Thai", "ต้มน้ำก่อน", None, None, "unharmful"),
        ("Klingon", "ghobe'", "refusal", 3.0, "unharmful"),
        ("English", None, "refusal", 3.0, "unharmful"),
    ]
    names = ("language", "response", "response_refusal_label", "response_refusal_agreement", "response_harm_label")
    return write_parquet(
        folder / "data" / "test-00000-of-00001.parquet",
        [
            dict(zip(names, row, strict=True)) | {"id": i, "prompt": "?", "response_harm_agreement": 3.0}
            for i, row in enumerate(rows)
        ],
    )


def test_polyguardprompts_keeps_the_rows_on_which_annotators_agree(tmp_path: Path) -> None:
    polyguard(tmp_path)
    rows = read_set("polyguardprompts", tmp_path)
    assert [(r.exchange.lang, r.refusal, r.harmful) for r in rows] == [
        ("en", True, None), ("en", False, None), ("th", True, None)
    ]  # fmt: skip
    assert len(read_set("polyguardprompts", tmp_path, agreement=2)) == 4
    assert [r.harmful for r in read_set("polyguardprompts", tmp_path, "harmful")] == [False, True, False, False]
    with pytest.raises(EmptySetError, match="holds no row of polyguardprompts"):
        read_set("polyguardprompts", tmp_path, agreement=4)


def test_multilingual_refusals_gives_two_answers_and_two_refusals_a_row(tmp_path: Path) -> None:
    row = {"answer_1": YES, "refusal_1": NO, "answer_2": "Yes.", "refusal_2": "No."}
    write_parquet(tmp_path / "data" / "english-00000-of-00001.parquet", [row])
    write_parquet(tmp_path / "data" / "german-00000-of-00001.parquet", [row | {"answer_2": None}])
    rows = read_set("multilingual_refusals", tmp_path)
    assert [(r.exchange.lang, r.refusal) for r in rows] == [
        *(("en", False), ("en", True), ("en", False), ("en", True)),
        *(("de", False), ("de", True), ("de", True)),
    ]
    with pytest.raises(UnknownNameError, match="label of multilingual_refusals 'harmful'"):
        read_set("multilingual_refusals", tmp_path, "harmful")


def test_refusal_classifier_data_judges_the_last_reply_in_its_own_language(tmp_path: Path) -> None:
    german = "Es tut mir leid, aber dabei kann ich dir leider wirklich nicht helfen, weil das nicht erlaubt ist."
    rows = [
        {"text": f"<|system|>s<|user|>one<|assistant|>{YES}<|user|>two<|assistant|>{german}", "label": "Refusal"},
        {"text": f"<|user|>three<|assistant|>{YES} Stir it now and then until all of it is soft.", "label": 0},
    ]
    file = tmp_path / "test.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    found = read_set("refusal_classifier_data", file)
    assert [(r.exchange.lang, r.exchange.prompt, r.refusal) for r in found] == [
        ("de", "two", True),
        ("en", "three", False),
    ]
    for row, said in (
        (
            {"text": "<|user|>x<|assistant|>y", "label": "maybe"},
            "the label 'maybe'; expected refusal, 1, non-refusal, 0",
        ),
        ({"text": "<|user|>x", "label": 1}, "does not end with a reply"),
        ({"conversation": "x"}, "not an object with text and label"),
    ):
        file.write_text(json.dumps(row), encoding="utf-8")
        with pytest.raises(FormatError, match=said):
            read_set("refusal_classifier_data", file)


def test_another_layout_is_refused_with_the_columns_that_are_there(tmp_path: Path) -> None:
    file = write_parquet(tmp_path / "english-0.parquet", [{"answer": "x", "refusal": "y"}])
    with pytest.raises(FormatError, match=r"lacks answer_1, .*; its columns are answer, refusal"):
        read_set("multilingual_refusals", file)
    with pytest.raises(FormatError, match=r"holds no \.jsonl file"):
        read_set("refusal_classifier_data", tmp_path)


def test_calibrate_takes_a_set_by_name_and_writes_markdown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SSN_DATA_DIR", str(tmp_path))
    absent = CliRunner().invoke(main, ["calibrate", "--gold", "polyguardprompts"])
    assert absent.exit_code == 2 and "ToxicityPrompts/PolyGuardPrompts, revision de2d7fadd93" in absent.output
    polyguard(tmp_path / "polyguardprompts")
    done = CliRunner().invoke(main, ["calibrate", "--gold", "polyguardprompts", "--markdown"])
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[2:] == [
        "| en | 2 | 1.000 | 1.000 | 1.000 | 1.000 | 0 |",
        "| th | 1 | – | 1.000 | 1.000 | 1.000 | 0 |",
        "| all | 3 | 1.000 | 1.000 | 1.000 | 1.000 | 0 |",
    ]
    words = ["calibrate", "--gold", f"polyguardprompts={tmp_path / 'polyguardprompts'}", "--limit", "1", "--json"]
    assert json.loads(CliRunner().invoke(main, [*words, "--agreement", "2"]).stdout)["rows"] == {"en": 1, "th": 1}
