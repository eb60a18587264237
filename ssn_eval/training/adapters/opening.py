"""Open a trained or edited model as plain weights: an adapter or a delta is added to its base, a full checkpoint takes the base's place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from ssn_eval.core import files
from ssn_eval.core.errors import MissingInputError
from ssn_eval.models import deltas, loading
from ssn_eval.models.loading import Loaded, ModelSpec
from ssn_eval.training.adapters.folder import ADAPTER_CONFIG, is_checkpoint, load_adapter
from ssn_eval.training.adapters.neuron_lora import merge


def open_trained(spec: ModelSpec, folder: Path, load: Callable[[], Loaded] | None = None) -> Loaded:
    """A trained or edited model in memory; its identity names the base, with a hash of `folder` in place of that of the weights.

    Args:
        spec: the base model.
        folder: an adapter, a full checkpoint, or a delta file (`ssn edit`, `ssn export --format delta`).
        load: how the base is loaded, by default `loading.load(spec)`; its weights are changed.

    Raises:
        MissingInputError: the folder holds neither.
        MismatchError, FormatError, ParamsError: as `load_adapter`, `merge` and `loading.load`.
    """
    if folder.is_file():
        opened, delta = load() if load else loading.load(spec), deltas.load(folder)
        delta.base.refuse_other(opened.ref, f"The delta {folder.name}")
        deltas.apply(opened.model, delta)
    elif is_checkpoint(folder):
        own = replace(spec, pretrained=str(folder), revision=None, gguf_file=None, package=None)
        opened = loading.load(own)
    elif (folder / ADAPTER_CONFIG).is_file():
        base = load() if load else loading.load(spec)
        opened = Loaded(merge(load_adapter(base.model, folder, base.ref)).eval(), base.tokenizer, base.ref)
    else:
        raise MissingInputError(f"{folder} holds neither an adapter ({ADAPTER_CONFIG}) nor a checkpoint (config.json).")
    name = spec.pretrained or f"package:{spec.package}"
    ref = replace(opened.ref, id=files.portable(f"{name} + {folder.name}"), weights=files.sha256(folder))
    return Loaded(opened.model, opened.tokenizer, ref)
