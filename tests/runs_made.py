"""Runs in lm_eval's form, written by hand, so that a test's numbers can be counted."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from ssn_eval.judges.judged import Judged, what_it_says
from ssn_eval.judges.verdict import Verdict

R = Verdict(True, None, False, False, "sorry")
C = Verdict(False, None, False, False, "")
I = Verdict(False, None, True, False, "")  # noqa: E741
X = Verdict.failed("no answer")
SAFE, UNSAFE = Verdict(True, False, False, False, "safe"), Verdict(False, True, False, False, "unsafe")
JUDGE = {"name": "test", "version": "1"}
TIME = "2026-01-01T00-00-00.000000"


def write(
    folder: Path,
    verdicts: Mapping[str, Sequence[Verdict]],
    *,
    benchmark: str = "multijail",
    label: str = "harmful",
    judge: Mapping[str, object] = JUDGE,
    reply_langs: Sequence[str | None] | None = None,
    tags: Sequence[Sequence[str]] | None = None,
    time: str = TIME,
    prompt: str = "?",
    own_ids: bool = False,
) -> Path:
    """A run's folder: one samples file a language, prompts numbered from 0; with `own_ids` in no two languages alike."""
    folder.mkdir(parents=True, exist_ok=True)
    for lang, given in verdicts.items():
        task, rows = f"{benchmark}_{lang}", []
        for i, verdict in enumerate(given):
            langs = None if reply_langs is None else (reply_langs[i],)
            doc = {"id": f"p{i}" + own_ids * f"-{lang}", "lang": lang, "label": label, "prompt": f"{lang} {i}{prompt}"}
            doc |= {"tags": list(tags[i]) if tags else [], "translation": "original" if lang == "en" else "human"}
            text = Judged((verdict,), judge, what_it_says(given), langs).to_text()
            rows.append({"doc_id": i, "doc": doc, "resps": [[f"reply {lang} {i}"]], "filtered_resps": [text]})
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (folder / f"samples_{task}_{time}.jsonl").write_text(lines, encoding="utf-8")
    return folder


def results(
    folder: Path, *, time: str = TIME, metadata: Mapping[str, object] | None = None, **model_args: object
) -> Path:
    """What lm_eval writes beside the samples, as far as it is read."""
    config = {"model": "ssn_hf", "model_args": {"pretrained": "m", **model_args}, "ssn_eval": {"condition": ""}}
    configs = {task: {"metadata": found} for task, found in (metadata or {}).items()}
    (folder / f"results_{time}.json").write_text(json.dumps({"config": config, "configs": configs}), encoding="utf-8")
    return folder


def other_task(folder: Path, task: str = "mgsm_direct_en", time: str = TIME) -> Path:
    """Samples of a task without prompt and language, as a run of `ssn_suite` has them."""
    row = {"doc_id": 0, "doc": {"question": "1 + 1?", "lang": "en"}, "resps": [["2"]], "filtered_resps": ["2"]}
    (folder / f"samples_{task}_{time}.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    return folder
