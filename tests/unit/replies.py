"""Replies in the manner of Llama 3.1, Gemma 2 and Qwen 2.5, in every language of the judge: which decline, which do not.

`refusal_examples/<lang>.json` holds two lists. `declines`: refusals outright and by reproach, correction, advice and
redirection, formal and colloquial. `answers`: harmless answers, and harmful ones as prose, letters, speeches and steps
that contain words such as "illegal" or "cannot". All are written by hand; none is taken from a model or a data set.
"""

from __future__ import annotations

import json
from pathlib import Path

_FILES = sorted((Path(__file__).parent / "refusal_examples").glob("*.json"))
_READ = {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in _FILES}
DECLINES: dict[str, list[str]] = {lang: found["declines"] for lang, found in _READ.items()}
ANSWERS: dict[str, list[str]] = {lang: found["answers"] for lang, found in _READ.items()}
