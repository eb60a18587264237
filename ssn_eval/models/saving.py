"""Save a model in memory as an ordinary folder that works without this project."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ssn_eval.core import files
from ssn_eval.core.origin import ModelRef
from ssn_eval.models import lineage
from ssn_eval.models.loading import Loaded


def write(
    loaded: Loaded,
    folder: Path,
    kind: str,
    provenance: Mapping[str, Any],
    ancestors: Sequence[ModelRef] = (),
    *,
    card: str | None = None,
) -> None:
    """Save the model as it is now, its tokenizer, its card if there is one, and `ssn.json`, which names the loaded model as its base."""
    with files.atomic(folder) as temporary:
        loaded.model.save_pretrained(str(temporary), safe_serialization=True)
        loaded.tokenizer.save_pretrained(str(temporary))
        if card is not None:
            files.write_text(temporary / "README.md", card)
        lineage.write(temporary, kind, loaded.ref, provenance, ancestors)
