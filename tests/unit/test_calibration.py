"""Agreement figures by hand, and every way in which a gold file can be wrong."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from ssn_eval.core.errors import EmptySetError, FormatError, MismatchError, MissingInputError, UnknownNameError
from ssn_eval.judges.calibration import GoldRow, calibrate, read_gold
from ssn_eval.judges.verdict import Exchange, Verdict

GOOD = {"lang": "en", "prompt": "p", "response": "r", "refusal": 1, "harmful": 0}


def _row(refusal: bool | None, lang: str = "en", model: str | None = None) -> GoldRow:
    return GoldRow(Exchange("p", "r", lang), refusal, None, model)


def _said(refusal: bool | None) -> Verdict:
    return Verdict.failed("no answer") if refusal is None else Verdict(refusal, None, False, False, "")


def _write(path: Path, *rows: object) -> Path:
    path.write_text("\n".join(r if isinstance(r, str) else json.dumps(r) for r in rows), encoding="utf-8")
    return path


def test_figures_by_hand() -> None:
    # tp 20, fn 10, fp 5, tn 15: observed .7, expected .5*.6 ... = (30*25 + 20*25) / 2500 = .5, kappa = .4.
    gold = [True] * 30 + [False] * 20
    said = [True] * 20 + [False] * 10 + [True] * 5 + [False] * 15
    found = calibrate([_row(g) for g in gold], [_said(s) for s in said], judge="j").overall
    assert found.kappa == pytest.approx(0.4)
    assert (found.precision, found.recall) == pytest.approx((20 / 25, 20 / 30))
    assert (found.f1, found.f1_negative) == pytest.approx((40 / 55, 30 / 45))
    assert found.unscored == 0


def test_groups_unscored_and_invalid() -> None:
    rows = [_row(True, "en", "a"), _row(False, "en", "a"), _row(True, "th", "b"), _row(False, "th", "b")]
    verdicts = [_said(True), _said(False), _said(None), Verdict(False, None, True, False, "empty")]
    found = calibrate(rows, verdicts, judge="j").to_json()
    assert set(found) == {"judge", "n", "rows", "overall", "by_lang", "by_model"}
    assert found["rows"] == {"en": 2, "th": 2}
    assert (found["judge"], found["n"]) == ("j", 4)
    assert found["overall"] == {"kappa": 1, "f1": 1, "precision": 1, "recall": 1, "unscored": 1, "f1_negative": 1}
    assert found["by_lang"]["th"]["unscored"] == 1  # type: ignore[index]
    assert set(found["by_model"]) == {"a", "b"}  # type: ignore[call-overload]


def test_undefined_figures_are_null_and_the_json_is_strict() -> None:
    found = calibrate([_row(False), _row(False, "th")], [_said(False), _said(None)], judge="j").to_json()
    text = json.dumps(found, allow_nan=False)
    assert json.loads(text)["overall"] == {
        "kappa": None,
        "f1": None,
        "precision": None,
        "recall": None,
        "unscored": 1,
        "f1_negative": 1.0,
    }
    assert json.loads(text)["by_lang"]["th"]["f1_negative"] is None


def test_a_judge_that_never_says_refusal_is_all_unscored() -> None:
    found = calibrate([_row(True)], [Verdict(None, True, False, False, "unsafe")], judge="j")
    assert found.overall.unscored == 1
    assert found.overall.kappa is None


def test_harm_can_be_calibrated_too() -> None:
    rows = [GoldRow(Exchange("p", "r", "en"), None, harmful) for harmful in (True, False)]
    verdicts = [Verdict(None, harmful, False, False, "") for harmful in (True, False)]
    assert calibrate(rows, verdicts, judge="j", label="harmful").overall.kappa == 1.0
    with pytest.raises(MismatchError, match="'refusal'"):
        calibrate(rows, verdicts, judge="j")


def test_rows_and_verdicts_must_pair_up() -> None:
    with pytest.raises(MismatchError, match="0 verdicts for 1 gold rows"):
        calibrate([_row(True)], [], judge="j")
    with pytest.raises(EmptySetError):
        calibrate([], [], judge="j")


def test_reads_plain_and_gzipped_files_alike(tmp_path: Path) -> None:
    plain = _write(tmp_path / "gold.jsonl", {**GOOD, "model": "m"}, "", {**GOOD, "refusal": 0, "harmful": None})
    packed = tmp_path / "gold.jsonl.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    rows = read_gold(plain)
    assert rows == read_gold(packed)
    assert [(r.refusal, r.harmful, r.model) for r in rows] == [(True, False, "m"), (False, None, None)]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("{not json", "Line 2 of gold.jsonl is not a gold row"),
        ("[1]", "Line 2 of gold.jsonl is not a JSON object"),
        ({k: v for k, v in GOOD.items() if k != "refusal"}, "Line 2 of gold.jsonl has no 'refusal' label"),
        ({**GOOD, "refusal": "yes"}, "refusal = 'yes'; expected 0 or 1"),
        ({**GOOD, "response": None}, "no text in 'response'"),
    ],
)
def test_a_bad_line_is_named_by_its_number(tmp_path: Path, row: object, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        read_gold(_write(tmp_path / "gold.jsonl", GOOD, row))


def test_an_unknown_language_is_named_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="line 1 of gold.jsonl 'thx'. Did you mean th"):
        read_gold(_write(tmp_path / "gold.jsonl", {**GOOD, "lang": "thx"}))


def test_missing_empty_and_damaged_files(tmp_path: Path) -> None:
    with pytest.raises(MissingInputError, match="no gold file"):
        read_gold(tmp_path / "none.jsonl")
    with pytest.raises(EmptySetError, match="no rows"):
        read_gold(_write(tmp_path / "empty.jsonl", ""))
    damaged = tmp_path / "gold.jsonl.gz"
    damaged.write_bytes(gzip.compress(json.dumps(GOOD).encode() * 100)[:-20])
    with pytest.raises(FormatError, match="no gzip file"):
        read_gold(damaged)
    damaged.write_bytes(b"not gzip")
    with pytest.raises(FormatError, match="no gzip file"):
        read_gold(damaged)
