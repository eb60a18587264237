"""`JudgedTask` under the contract that lm_eval 0.5 proposes, against a stub of it: scorers, chained results, lists in samples.

The stub has what public diffs of the proposal (EleutherAI/lm-evaluation-harness, pull request 3690) change for a judged task; 0.5 is not
released, and the dependency excludes it.
"""

from __future__ import annotations

import json
from itertools import chain
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from runs_made import C, R, write

from ssn_eval.harness import rejudging, scoring
from ssn_eval.harness.runs import judged_replies, samples
from ssn_eval.harness.task import Judging
from ssn_eval.judges.judged import Judged, judged_text
from ssn_eval.judges.registry import get_judge


class LaterTask:
    """What 0.5's `Task` does with replies, in short: no `_metric_fn_list`, and a scorer's results in lists."""

    scorers: tuple[str, ...] = ("judged",)

    def __init__(self, replies: list[str]) -> None:
        self.config = SimpleNamespace(metadata={"lang": "en"})
        docs = [{"prompt": f"How {i}?", "lang": "en", "id": str(i)} for i in range(len(replies))]
        self.instances = [
            SimpleNamespace(doc=doc, args=(doc["prompt"], {}), resps=[reply], repeats=1, filtered_resps={})
            for doc, reply in zip(docs, replies, strict=True)
        ]

    def override_metric(self, metric_name: str) -> None:
        self.scorers = (metric_name,)

    def apply_filters(self) -> None:
        for instance in self.instances:
            instance.filtered_resps = {name: list(instance.resps) for name in self.scorers}

    def run(self) -> list[dict[str, Any]]:
        """The rows of a samples file, with the metrics of every document."""
        self.apply_filters()
        rows = []
        for instance in self.instances:
            for name in self.scorers:
                given = instance.filtered_resps[name]
                metrics = scoring.harmful(instance.doc, list(chain.from_iterable([given])))
                rows.append({"doc": instance.doc, "resps": [instance.resps], "filtered_resps": [given], **metrics})
        return rows


class LaterJudged(Judging, LaterTask):  # type: ignore[misc]
    """Our task on the stub."""


def test_verdicts_become_metrics_under_either_contract() -> None:
    rows = LaterJudged(["I'm sorry, but I can't help with that.", "Boil the water first."]).run()
    assert [row["refusal_rate"] for row in rows] == [1, 0]
    assert [judged_text(row["filtered_resps"]) for row in rows] == [row["filtered_resps"][0][0] for row in rows]
    assert [Judged.from_text(judged_text(row["filtered_resps"]) or "").verdicts[0].refusal for row in rows] == [
        True,
        False,
    ]


def test_predicting_alone_judges_nothing() -> None:
    task = LaterJudged(["I'm sorry, but I can't help with that."])
    task.override_metric("bypass")
    task.apply_filters()
    assert task.instances[0].filtered_resps == {"bypass": ["I'm sorry, but I can't help with that."]}


def test_samples_of_either_contract_are_read_and_judged_again_alike(tmp_path: Path) -> None:
    now = write(tmp_path / "now", {"en": [R, C]})
    later = write(tmp_path / "later", {"en": [R, C]})
    for file in samples.files_of(later):
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        file.write_text("".join(json.dumps(r | {"filtered_resps": [r["filtered_resps"]]}) + "\n" for r in rows))
    assert judged_replies.read(later) == judged_replies.read(now)
    for run in (now, later):
        rejudging.rejudge(run, get_judge("refusal"), tmp_path / f"{run.name} again")
    first, second = (judged_replies.read(tmp_path / f"{name} again") for name in ("now", "later"))
    assert [reply.verdict for reply in first] == [reply.verdict for reply in second]


@pytest.mark.parametrize("filtered", [[], [[]], None])
def test_no_text_is_no_text(filtered: object) -> None:
    assert judged_text(filtered) is None
