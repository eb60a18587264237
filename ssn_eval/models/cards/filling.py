"""The parts that both kinds of card share: YAML front matter for the hub, templates, and facts as table cells.

`huggingface_hub` writes the front matter (fields: https://huggingface.co/docs/hub/model-cards). A card holds no date and no
local path, so equal facts give equal bytes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssn_eval.core.origin import ModelRef

if TYPE_CHECKING:
    from huggingface_hub import CardData

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def filled(template: str, front_matter: CardData, facts: Mapping[str, Any]) -> str:
    """The text of a card: front matter, then a template of `cards/templates` filled with facts.

    Raises:
        UndefinedError: the template uses a fact that is missing.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("ssn_eval.models.cards"), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["cell"] = cell
    text = environment.get_template(template).render(facts)
    return f"---\n{front_matter.to_yaml(line_break=chr(10))}\n---\n\n{text.strip()}\n"


def cell(value: object) -> str:
    """A value as the text of a Markdown table cell: one line, with `|` escaped."""
    if isinstance(value, Mapping):
        value = ", ".join(f"{k} {v}" for k, v in sorted(value.items()))
    elif isinstance(value, Sequence) and not isinstance(value, str):
        value = ", ".join(map(str, value))
    return " ".join(str(value).split()).replace("|", "\\|")


def hub_id(ref: ModelRef) -> str | None:
    """A model's hub id; None for a local folder, which others cannot reach."""
    return ref.id if _HUB_ID.fullmatch(ref.id) and not Path(ref.id).exists() else None


def origin(ref: ModelRef) -> dict[str, Any]:
    """A model's identity as facts for a template."""
    return {
        "name": ref.id,
        "hub": hub_id(ref),
        "revision": ref.revision,
        "weights": ref.weights,
        "type": ref.model_type,
    }
