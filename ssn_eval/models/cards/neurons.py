"""The card of a neuron set. On the hub a neuron set is a data set, because it holds positions and no weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ssn_eval.core.languages import LANGUAGES
from ssn_eval.core.neurons import site_kind
from ssn_eval.core.store import NeuronFile
from ssn_eval.models.cards.filling import filled, origin

_PROVENANCE_KEYS = (
    "set",
    "what",
    "control_of",
    "lang",
    "hr",
    "p",
    "scope",
    "sites",
    "method",
    "seed",
    "preset",
    "source",
)
"""keys of a provenance that the card shows, in this order"""


def neuron_card(file: NeuronFile, name: str) -> str:
    """The README.md of a neuron set.

    Args:
        file: the neuron set with its model and provenance.
        name: the name of the set's file beside the card.
    """
    from huggingface_hub import DatasetCardData

    provenance = file.provenance
    set_name = str(provenance.get("set") or provenance.get("what") or Path(name).stem)
    front_matter = DatasetCardData(
        pretty_name=f"{set_name} neurons of {file.model.id}",
        language=_languages(provenance),
        tags=["ssn-eval", "safety-neurons", "interpretability"],
        viewer=False,
    )
    per_site: dict[str, int] = {}
    for neuron in file.neurons:
        per_site[site_kind(neuron.site)] = per_site.get(site_kind(neuron.site), 0) + 1
    facts = {
        "what": set_name,
        "control": _is_control(set_name),
        "name": name,
        "base": origin(file.model),
        "neurons": len(file.neurons),
        "of": file.model.geometry.size(),
        "layers": file.model.geometry.num_layers,
        "per_site": per_site,
        "provenance": {key: provenance[key] for key in _PROVENANCE_KEYS if provenance.get(key) is not None},
        "versions": provenance.get("versions", {}),
    }
    return filled("neurons.md.jinja", front_matter, facts)


def _languages(provenance: Mapping[str, Any]) -> list[str] | None:
    """The codes of the languages that a provenance names; None if it names none."""
    codes = [str(code) for code in (provenance.get("hr"), provenance.get("lang")) if code in LANGUAGES]
    return list(dict.fromkeys(codes)) or None


def _is_control(set_name: str) -> bool:
    return "random" in set_name
