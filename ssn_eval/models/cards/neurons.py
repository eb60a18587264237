"""The card of a neuron set: a data set on the hub, since it holds positions and no weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ssn_eval.core.languages import LANGUAGES
from ssn_eval.core.neurons import site_kind
from ssn_eval.core.store import NeuronFile
from ssn_eval.models.cards.filling import filled, origin

_TOLD = ("set", "what", "control_of", "lang", "hr", "p", "scope", "sites", "method", "seed", "preset", "source")
"""parts of a provenance that the card names, in this order; whatever else it holds is in the file"""


def neuron_card(file: NeuronFile, name: str) -> str:
    """The README.md of a neuron set.

    Args:
        file: the set with its origin.
        name: its file's name, as it will lie beside the card.
    """
    from huggingface_hub import DatasetCardData

    provenance = file.provenance
    set_name = str(provenance.get("set") or provenance.get("what") or Path(name).stem)
    front = DatasetCardData(
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
        "told": {key: provenance[key] for key in _TOLD if provenance.get(key) is not None},
        "versions": provenance.get("versions", {}),
    }
    return filled("neurons.md.jinja", front, facts)


def _languages(provenance: Mapping[str, Any]) -> list[str] | None:
    """The languages that the origin of a set names; possibly none."""
    codes = [str(code) for code in (provenance.get("hr"), provenance.get("lang")) if code in LANGUAGES]
    return list(dict.fromkeys(codes)) or None


def _is_control(set_name: str) -> bool:
    return "random" in set_name
