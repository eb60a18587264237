"""Answers on disk, one small file each, so that no request is sent or paid for twice.

The name of a file is a hash of everything that determines the answer: endpoint, model, messages, parameters. The file holds
the answer and its token counts, but neither the prompt nor the API key.
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
    """A folder of answers. Writing is atomic, and a damaged file counts as absent."""

    def __init__(self, folder: Path) -> None:
        """Store the path of the folder; `put` creates it."""
        self._folder = folder

    @staticmethod
    def key(base_url: str, model: str, messages: Sequence[Mapping[str, str]], parameters: Mapping[str, object]) -> str:
        """The key of a request, 64 hex digits; it depends on the endpoint, since two servers may use one name for two models."""
        request = json.dumps([base_url, model, list(messages), dict(parameters)], sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(request.encode("utf-8", "surrogatepass")).hexdigest()

    def get(self, key: str) -> Answer | None:
        """The answer under a key; None if there is none."""
        path = self._path(key)
        if not path.is_file():
            return None
        try:
            return Answer(**files.read_json(path, "a judge's answer"))
        except (FormatError, TypeError):
            return None

    def put(self, key: str, answer: Answer) -> None:
        """Store an answer under a key."""
        files.write_json(self._path(key), answer.to_json())

    def _path(self, key: str) -> Path:
        return self._folder / key[:2] / f"{key}.json"
