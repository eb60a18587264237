"""What the experiments found about a model, kept in the user's cache beside the hash of its weights, so that they run once a model.

The folder is `sites` in `SSN_CACHE_DIR`, or in `ssn_eval` in the user's cache. A file that is damaged, of another version or of
another class is made again.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from ssn_eval.core import cache, files
from ssn_eval.core.errors import SsnError
from ssn_eval.core.origin import versions
from ssn_eval.models.architectures.found import FORMAT, Found
from ssn_eval.models.architectures.layouts import LAYOUTS

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def folder() -> Path:
    """The folder of the cache."""
    return cache.home() / "sites"


def path_of(weights: str, class_name: str) -> Path:
    """The file of one model: by the hash of its weights, its class, and the versions that decide the result."""
    used = versions()
    parts = [FORMAT, weights, class_name, *(str(used.get(name)) for name in ("ssn-eval", "transformers", "torch"))]
    return folder() / f"{hashlib.sha256('/'.join(parts).encode()).hexdigest()[:32]}.json"


def find(model: PreTrainedModel, weights: str) -> Found:
    """The sites of a model: from the table, from the cache, or by experiment, which is then cached.

    Args:
        model: the loaded model, without an adapter.
        weights: the hash of its weights.

    Raises:
        ArchitectureError: as `resolving.found_of`.
    """
    from ssn_eval.models.architectures.resolving import found_of, remember, resolve

    if model.config.model_type in LAYOUTS:
        return found_of(model)
    path = path_of(weights, type(model).__name__)
    cached = read(path)
    if cached is not None:
        remember(model, cached)
        try:
            resolve(model)
        except SsnError:
            cached = None
            remember(model, None)
    if cached is None:
        cached = found_of(model)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            files.write_json(path, cached.to_json())
        except (OSError, SsnError):
            pass  # a cache that cannot be written costs time alone
    return cached


def read(path: Path) -> Found | None:
    """A file of the cache; None if there is none that can be used."""
    try:
        return Found.from_json(files.read_json(path, "cached sites")) if path.is_file() else None
    except (SsnError, OSError):
        return None
