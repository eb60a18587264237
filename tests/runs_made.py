"""Runs in lm_eval's form, written by hand, so that a test's numbers can be counted."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from ssn_eval.judges import Verdict
from ssn_eval.judges.judged import Judged, what_it_says

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
) -> Path:
    """A run's folder: one samples file a language, prompts numbered from 0."""
    folder.mkdir(parents=True, exist_ok=True)
    for lang, given in verdicts.items():
        task, rows = f"{benchmark}_{lang}", []
        for i, verdict in enumerate(given):
            langs = None if reply_langs is None else (reply_langs[i],)
            doc = {"id": f"p{i}", "lang": lang, "label": label, "prompt": f"{lang} {i}?"}
            doc |= {"tags": list(tags[i]) if tags else [], "translation": "original" if lang == "en" else "human"}
            text = Judged((verdict,), judge, what_it_says(given), langs).to_text()
            rows.append({"doc_id": i, "doc": doc, "resps": [[f"reply {lang} {i}"]], "filtered_resps": [text]})
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (folder / f"samples_{task}_{time}.jsonl").write_text(lines, encoding="utf-8")
    return folder
