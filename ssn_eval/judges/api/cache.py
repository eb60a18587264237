"""Finished exchanges on disk, one small file each, so that no answer is asked for, or paid for, twice.

A file is named by a hash of everything that shapes the answer: endpoint, model, messages, parameters. It holds the answer
and its token counts, and neither the prompt nor a key.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from ssn_eval.core import files
from ssn_eval.core.errors import FormatError
from ssn_eval.judges.api.endpoint import Answer


class Cache:
    """A folder of answers; writing is atomic, and a damaged file counts as absent."""

    def __init__(self, folder: Path) -> None:
        """Remember the folder; it is made when something is kept."""
        self._folder = folder

    @staticmethod
    def key(base_url: str, model: str, messages: Sequence[Mapping[str, str]], parameters: Mapping[str, object]) -> str:
        """64 hex digits. The endpoint is part of it: another server may call another model by the same name."""
        asked = json.dumps([base_url, model, list(messages), dict(parameters)], sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(asked.encode("utf-8", "surrogatepass")).hexdigest()

    def get(self, key: str) -> Answer | None:
        """The answer kept under a key."""
        path = self._path(key)
        if not path.is_file():
            return None
        try:
            return Answer(**files.read_json(path, "a judge's answer"))
        except (FormatError, TypeError):
            return None

    def put(self, key: str, answer: Answer) -> None:
        """Keep an answer."""
        files.write_json(self._path(key), answer.to_json())

    def _path(self, key: str) -> Path:
        return self._folder / key[:2] / f"{key}.json"
