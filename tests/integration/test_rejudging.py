"""Stored replies judged again: `ssn judge`, resumed after a stop, and `ssn_replay` inside lm_eval. Then looked at and compared."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from runs_made import C, R, other_task, results, write

from ssn_eval.cli import main
from ssn_eval.core.errors import MismatchError, ParamsError, SsnError
from ssn_eval.core.languages import LANGUAGES
from ssn_eval.harness import rejudging
from ssn_eval.harness.replayed import ReplayLM
from ssn_eval.harness.runs import judged_replies, rates, samples
from ssn_eval.judges.registry import get_judge
from ssn_eval.judges.verdict import Exchange, Verdict


class Counting:
    """Refuses every second reply; can die after so many chunks."""

    name = "counting"

    def __init__(self, dies_after: int | None = None, version: str = "1") -> None:
        self.seen: list[str] = []
        self.chunks, self.dies_after, self.version = 0, dies_after, version

    def identity(self) -> dict[str, object]:
        return {"name": self.name, "version": self.version}

    def judge(self, exchanges: Sequence[Exchange]) -> list[Verdict]:
        if self.chunks == self.dies_after:
            raise KeyboardInterrupt
        self.chunks += 1
        self.seen += [e.response for e in exchanges]
        return [Verdict(int(e.response.split()[-1]) % 2 == 0, None, False, False, "") for e in exchanges]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Two languages of 300 prompts: several chunks a file."""
    return write(tmp_path / "run", {"en": [R, C] * 150, "sw": [C, C] * 150})


def test_replies_are_judged_again_and_read_like_any_run(run: Path, tmp_path: Path) -> None:
    made = rejudging.rejudge(run, Counting(), tmp_path / "out")
    (found,) = rates.summarize(judged_replies.read(tmp_path / "out"))
    assert found.languages["sw"]["refusal"].value == 0.5
    assert made["judge"] == {"name": "counting", "version": "1"}
    assert {entry["replies"] for entry in made["inputs"].values()} == {300}
    assert json.loads((tmp_path / "out" / "judged.json").read_text()) == made
    (row, *_) = [r for _, r in samples.rows(next((tmp_path / "out").glob("samples_multijail_sw*")))]
    assert row["refusal_rate"] == 1.0 and row["metrics"] == sorted(row["metrics"])


def test_a_stopped_run_goes_on_and_gives_the_same_bytes(run: Path, tmp_path: Path) -> None:
    rejudging.rejudge(run, Counting(), tmp_path / "whole")
    for dies_after in (1, 2, 1):
        with pytest.raises(KeyboardInterrupt):
            rejudging.rejudge(run, Counting(dies_after), tmp_path / "out")
    (partial,) = (tmp_path / "out").glob(f".*{rejudging.PARTIAL}")
    with partial.open("a") as handle:
        handle.write('{"refusal": tr')  # what a kill in the middle of a write leaves
    last = Counting()
    rejudging.rejudge(run, last, tmp_path / "out")
    assert 0 < len(last.seen) <= 600 - 3 * rejudging.CHUNK
    files = {p.name: p.read_bytes() for p in (tmp_path / "whole").iterdir()}
    assert {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()} == files


def test_kill_9_loses_one_chunk_at_most(run: Path, tmp_path: Path) -> None:
    """The judge kills its own process in its fourth call, where the first task is whole and the second begins."""
    folders = [str(Path(__file__).parent), str(Path(__file__).parents[1])]
    code = (
        f"import os, signal, sys; sys.path[:0] = {folders!r}\n"
        "from pathlib import Path; from test_rejudging import Counting; from ssn_eval.harness import rejudging\n"
        "class Deadly(Counting):\n"
        "    def judge(self, exchanges):\n"
        "        if self.chunks == 4: os.kill(os.getpid(), signal.SIGKILL)\n"
        "        return super().judge(exchanges)\n"
        f"rejudging.rejudge(Path({str(run)!r}), Deadly(), Path({str(tmp_path / 'out')!r}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.returncode == -signal.SIGKILL, done.stderr
    judge = Counting()
    rejudging.rejudge(run, judge, tmp_path / "out")
    assert len(judge.seen) == 600 - 300 - rejudging.CHUNK
    assert len(judged_replies.read(tmp_path / "out")) == 600


def test_two_judges_are_not_mixed_in_one_folder(run: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        rejudging.rejudge(run, Counting(1), tmp_path / "out")
    with pytest.raises(MismatchError, match="another judge or other replies"):
        rejudging.rejudge(run, Counting(version="2"), tmp_path / "out")


def test_nothing_is_overwritten(run: Path, tmp_path: Path) -> None:
    with pytest.raises(SsnError, match="is the run itself"):
        rejudging.rejudge(run, Counting(), run)
    rejudging.rejudge(run, Counting(), tmp_path / "out", limit=2)
    with pytest.raises(SsnError, match="finished judgement"):
        rejudging.rejudge(run, Counting(), tmp_path / "out", limit=2)


def test_plain_lines_are_judged_too(tmp_path: Path) -> None:
    lines = [
        {"lang": "sw", "prompt": "?", "response": LANGUAGES["sw"].refusal},
        {"lang": "sw", "prompt": "!", "response": "Ndiyo, hapa."},
    ]
    (tmp_path / "replies.jsonl").write_text("".join(json.dumps(row) + "\n" for row in lines))
    rejudging.rejudge(tmp_path / "replies.jsonl", get_judge("refusal"), tmp_path / "out")
    (found,) = rates.summarize(judged_replies.read(tmp_path / "out"))
    assert found.overall["refusal"].value == 0.5


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ({"question": "2+2", "answer": "4"}, "expected a sample of a safety task"),
        ({"doc": {"prompt": "?", "lang": "sw"}, "resps": [["a", "b"]]}, "exactly one reply"),
        ({"doc": {"prompt": "?", "lang": "sw"}, "resps": [[[-1.0, False]]]}, "only generated replies"),
        ({"lang": "swa", "prompt": "?", "response": "x"}, "Did you mean sw"),
    ],
)
def test_another_format_is_one_sentence(tmp_path: Path, row: dict[str, Any], sentence: str) -> None:
    (tmp_path / "f.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(SsnError, match=sentence):
        rejudging.read(tmp_path / "f.jsonl")
    result = CliRunner().invoke(
        main, ["judge", str(tmp_path / "f.jsonl"), "--judge", "refusal", "--out", str(tmp_path / "o")]
    )
    assert result.exit_code == 2 and "Traceback" not in result.output and not (tmp_path / "o").exists()


def test_the_commands(run: Path, tmp_path: Path) -> None:
    def ssn(*words: str) -> Any:
        result = CliRunner().invoke(main, list(words), catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.stdout

    made = json.loads(ssn("judge", str(run), "--judge", "refusal", "--out", str(tmp_path / "again"), "--json"))
    assert made["judge"]["name"] == "refusal"
    shown = ssn("summarize", str(run))
    assert "multijail, harmful" in shown and "adaptive compliance" in shown
    assert max(map(len, shown.splitlines())) <= 80
    (found,) = json.loads(ssn("summarize", str(run), "--json"))["benchmarks"]
    assert found["languages"]["en"]["refusal"]["value"] == 0.5
    other = write(tmp_path / "other", {"en": [R, R] * 150, "sw": [C, R] * 150})
    (pair,) = json.loads(ssn("diff", str(run), str(other), "--json"))["comparisons"]
    assert pair["languages"]["sw"]["only_second"] == 150
    shown = ssn("diff", str(run), str(other))
    assert "<.001" in shown and max(map(len, shown.splitlines())) <= 80
    result = CliRunner().invoke(main, ["diff", str(run), str(tmp_path / "again")])
    assert result.exit_code == 2 and "different judges" in result.stderr


def _direct(tmp_path: Path) -> tuple[dict[str, Any], Path]:
    """A run of the organism's harmful Swahili questions with scripted replies, its samples as lm_eval logs them."""
    from test_harness_tasks import Scripted as Model
    from test_harness_tasks import evaluate, rows

    from ssn_eval.harness import datasets

    docs = rows(datasets.organism("sw", "harmful"))
    lm = Model({doc["prompt"]: LANGUAGES["sw"].refusal for doc in docs[::3]}, "Hapa kuna jibu refu la swali lako.")
    results = evaluate(lm, "organism_safety_sw")
    lines = "".join(
        json.dumps(s, ensure_ascii=False, default=str) + "\n" for s in results["samples"]["organism_safety_sw"]
    )
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / "samples_organism_safety_sw_2026-01-01T00-00-00.000000.jsonl").write_text(lines)
    return results, tmp_path / "log"


def test_a_replayed_run_gives_the_same_table_as_the_direct_one(tmp_path: Path) -> None:
    from test_harness_tasks import evaluate

    direct, folder = _direct(tmp_path)
    again = evaluate(ReplayLM(samples=str(folder)), "organism_safety_sw")
    assert 0 < direct["results"]["organism_safety_sw"]["refusal_rate,none"] < 1
    assert again["results"] == direct["results"]
    with_flag = evaluate(ReplayLM(samples=str(folder)), "organism_safety_sw", apply_chat_template=True)
    assert with_flag["results"] == direct["results"], "the flags of the run may be kept"


def test_a_document_that_has_gained_a_column_is_found_by_its_id_and_prompt(run: Path) -> None:
    from lm_eval.api.instance import Instance

    for file in run.glob("samples_*"):
        file.write_text("".join(json.dumps({**row, "doc_hash": "x"}) + "\n" for _, row in samples.rows(file)))
    lm = ReplayLM(samples=str(run))
    doc = {"id": "p3", "lang": "sw", "prompt": "sw 3?", "new": "column"}
    request = Instance("generate_until", doc, ("", {}), 0, ("multijail_sw", 3, 1))
    assert lm.generate_until([request]) == ["reply sw 3"]
    with pytest.raises(SsnError, match="does not hold 1 of the 1"):
        lm.generate_until([Instance("generate_until", {**doc, "prompt": "new"}, ("", {}), 0, ("multijail_sw", 3, 1))])


def test_a_reply_that_was_not_logged_is_an_error(tmp_path: Path) -> None:
    from test_harness_tasks import evaluate

    _, folder = _direct(tmp_path)
    with pytest.raises(SsnError, match="does not hold .* of the .* replies"):
        evaluate(ReplayLM(samples=str(folder)), "organism_safety_th")
    with pytest.raises(SsnError, match="samples=DIR"):
        ReplayLM()
    (folder / "samples_x_2026-01-01T00-00-00.000000.jsonl").write_text("{}\n")
    with pytest.raises(SsnError, match="no sample of lm_eval"):
        ReplayLM(samples=str(folder))


def test_judges_or_limits_are_not_mixed_even_between_two_finished_tasks(run: Path, tmp_path: Path) -> None:
    """300 replies a task are three chunks: the judge dies when the first task is whole and the second has not begun."""
    with pytest.raises(KeyboardInterrupt):
        rejudging.rejudge(run, Counting(dies_after=3), tmp_path / "out")
    (partial,) = (tmp_path / "out").glob(f"*{rejudging.PARTIAL}")
    partial.unlink()
    before = {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()}
    for judge, limit in ((Counting(version="2"), None), (Counting(), 5)):
        with pytest.raises(MismatchError, match="another judge or other replies"):
            rejudging.rejudge(run, judge, tmp_path / "out", limit=limit)
    assert {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()} == before
    with pytest.raises(MismatchError, match="not finished"):
        judged_replies.read(tmp_path / "out")
    judge = Counting()
    rejudging.rejudge(run, judge, tmp_path / "out")
    assert len(judge.seen) == 300 and len(judged_replies.read(tmp_path / "out")) == 600


def test_another_runs_folder_is_not_written_into(run: Path, tmp_path: Path) -> None:
    other = write(tmp_path / "other" / "model", {"en": [R]}).parent
    with pytest.raises(ParamsError, match="holds another run"):
        rejudging.rejudge(run, Counting(), other)


def test_plain_lines_with_parallel_ids_are_a_run_of_parallel_languages(tmp_path: Path) -> None:
    rows = [
        {"id": f"p{i}", "lang": lang, "prompt": "?", "response": f"x {i}"} for lang in ("en", "sw") for i in range(4)
    ]
    (tmp_path / "mine.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    rejudging.rejudge(tmp_path / "mine.jsonl", Counting(), tmp_path / "out")
    (found,) = rates.summarize(judged_replies.read(tmp_path / "out"))
    assert found.languages["sw"]["refusal"].value == 0.5 and found.across["adaptive_compliance"].n == 4


def test_what_lm_eval_said_of_the_run_is_kept_and_other_tasks_are_left_aside(tmp_path: Path) -> None:
    run = other_task(write(tmp_path / "run", {"en": [R, C]}, benchmark="ssn_lite_x"))
    results(
        run,
        metadata={"ssn_lite_x_en": {"benchmark": "multijail", "translation": "human", "config_source": "/a/b"}},
        op="suppress",
    )
    made = rejudging.rejudge(run, Counting(), tmp_path / "out")
    assert made["config"]["model_args"] == {"pretrained": "m", "op": "suppress"}
    assert made["configs"] == {"ssn_lite_x_en": {"metadata": {"benchmark": "multijail", "translation": "human"}}}
    assert {r.benchmark for r in judged_replies.read(tmp_path / "out")} == {"multijail"}
    assert samples.safety_files(tmp_path / "out")[1] == []


def test_a_code_switched_prompt_has_no_other_language(tmp_path: Path) -> None:
    run = results(write(tmp_path / "run", {"th": [R, C]}), metadata={"multijail_th": {"translation": "code-switched"}})
    for file in run.glob("samples_*"):
        file.write_text(file.read_text().replace('"translation": "human"', '"translation": null'))
    rejudging.rejudge(run, Counting(), tmp_path / "out")
    assert not any(reply.knows_reply_lang for reply in judged_replies.read(tmp_path / "out"))
