"""Push a path to the hub: an adapter or trained model as a model, a neuron set as a data set, each with its card."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from ssn_eval.core import store
from ssn_eval.core.errors import MissingInputError, ParamsError
from ssn_eval.core.store import NeuronFile
from ssn_eval.exchange import hub
from ssn_eval.models import lineage
from ssn_eval.models.cards.neurons import neuron_card
from ssn_eval.models.cards.weights import weights_card
from ssn_eval.training.adapters.folder import ADAPTER_CONFIG

CARD = "README.md"
_KEPT = (".safetensors", ".json", ".jinja", ".txt", ".model", ".md")
"""endings of what an adapter, model or tokenizer is made of; a pickle has none of them"""


class Parcel(NamedTuple):
    """The files of one push."""

    kind: hub.Kind
    content: Mapping[str, Path | bytes]
    """path in the repository → a file, or its bytes"""
    message: str


def push(path: Path, repo: str, *, private: bool = True, of: NeuronFile | None = None) -> str:
    """Push a path, and return the commit's address.

    Args:
        path: an adapter's or trained model's folder, or a neuron set.
        repo: `OWNER/NAME`.
        private: of a repository that is made here.
        of: the neuron set that a file in another tool's format was made from.

    Raises:
        SsnError: as `parcel` and `hub.push`.
    """
    sent = parcel(path, of)
    return hub.push(repo, sent.content, sent.kind, sent.message, private=private)


def parcel(path: Path, of: NeuronFile | None = None) -> Parcel:
    """Collect the files to push. An existing README.md is kept; if there is none, the card is made.

    Raises:
        MissingInputError, FormatError: nothing is there, or not what this project writes.
        ParamsError: a model whose neurons were suppressed or changed in its weights; such a model is not published.
    """
    if path.is_dir():
        return _folder(path)
    file = of or store.load_neurons(path)
    card = neuron_card(file, path.name).encode()
    return Parcel("dataset", {path.name: path, CARD: card}, f"Neuron set {path.name}")


def card_of(folder: Path) -> str:
    """The card of a folder of trained weights, from its `ssn.json`.

    Raises:
        MissingInputError, FormatError: there is none, or it is damaged.
        ParamsError: as `parcel`.
    """
    origins = lineage.bases(folder)
    if not origins:
        raise MissingInputError(
            f"{folder} holds no {lineage.FILE}, which every folder of weights that this project writes has."
        )
    if lineage.kind(folder) == lineage.BAKED:
        raise ParamsError(
            f"{folder} is a model whose neurons were changed for good, which can leave it without its refusals; it is not "
            f"published from here. Push the neuron set, and whoever needs the model can bake it."
        )
    return weights_card(origins[0], lineage.provenance(folder), is_adapter=(folder / ADAPTER_CONFIG).is_file())


def _folder(folder: Path) -> Parcel:
    card = card_of(folder).encode()
    contents: dict[str, Path | bytes] = {
        p.relative_to(folder).as_posix(): p
        for p in sorted(folder.rglob("*"))
        if p.is_file() and not p.is_symlink() and p.suffix in _KEPT and not p.name.startswith(".")
    }
    if not any(name.endswith(".safetensors") for name in contents):
        raise MissingInputError(f"{folder} holds no weights in safetensors; there is nothing to push.")
    contents.setdefault(CARD, card)
    kind = "Adapter" if (folder / ADAPTER_CONFIG).is_file() else "Model"
    return Parcel("model", contents, f"{kind} {folder.resolve().name}")
