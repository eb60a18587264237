"""Exactly which model it is: a hash of its weight files, its type and its shape."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from ssn_eval.core import files
from ssn_eval.core.errors import FormatError, MissingInputError
from ssn_eval.core.origin import ModelRef
from ssn_eval.models import quantization
from ssn_eval.models.specs import ModelSpec, locate

if TYPE_CHECKING:
    from transformers import PreTrainedModel

INDEX = "model.safetensors.index.json"


def reference(spec: ModelSpec, model: PreTrainedModel) -> ModelRef:
    """The identity of a loaded model: its id, a hash of its weight files, its type and shape."""
    from ssn_eval.models.architectures import caching
    from ssn_eval.models.architectures.resolving import geometry

    if quantization.method_of(model) == "compressed-tensors":
        from ssn_eval.models.architectures.discovery import passes

        passes.run(
            model, 1
        )  # it unpacks a weight when its module first runs, and an adapter needs the modules as they are then
    name = spec.pretrained or f"package:{spec.package}"
    weights = weights_hash(locate(spec))
    caching.find(model, weights)
    return ModelRef(files.portable(name), weights, str(model.config.model_type), geometry(model), spec.revision)


def weights_hash(spec: ModelSpec) -> str:
    """sha256 over the names and contents of the weight files; equal for a hub model and a copy of its folder.

    Raises:
        MissingInputError: there is no weight file.
    """
    folder = Path(spec.pretrained)
    if not folder.is_dir():
        folder = _hub_snapshot(spec)
    paths = [folder / spec.gguf_file] if spec.gguf_file else _weight_files(folder)
    paths = [path for path in paths if path.is_file()]
    if not paths:
        raise MissingInputError(
            f"No weights (safetensors or GGUF) in {spec.pretrained}; give a model folder or a hub id."
        )
    return _hash_of(tuple((str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in paths))


@lru_cache(maxsize=32)
def _hash_of(weights: tuple[tuple[str, int, int], ...]) -> str:
    """The hash of weight files. Each has a path, a size and a time of change; the cache is keyed on all three."""
    import hashlib

    digest = hashlib.sha256()
    for name, _, _ in weights:
        path = Path(name)
        digest.update(f"{path.name}\0{_content_hash(path)}\n".encode())
    return digest.hexdigest()


def _content_hash(path: Path) -> str:
    """The sha256 of a file. The hub's cache names large files by it, so such a file is not read."""
    blob = path.resolve().name
    is_hash = path.is_symlink() and len(blob) == 64 and set(blob) <= set("0123456789abcdef")
    return blob if is_hash else files.sha256(path)


def _weight_files(folder: Path) -> list[Path]:
    """The weight files that transformers loads from a folder: one file, or the files that an index names."""
    for single, index in (("model.safetensors", INDEX), ("pytorch_model.bin", "pytorch_model.bin.index.json")):
        if (folder / single).is_file():
            return [folder / single]
        if (folder / index).is_file():
            return [folder / name for name in _files_of_index(folder / index)]
    paths = sorted(p for p in folder.glob("*.safetensors") if not p.name.startswith("adapter"))
    return paths or sorted(folder.glob("pytorch_model*.bin"))


def _files_of_index(index: Path) -> list[str]:
    """The file names in an index of weights, sorted.

    Raises:
        FormatError: the file is not an index of weights.
    """
    content = files.read_json(index, "an index of weights")
    names = content.get("weight_map") if isinstance(content, Mapping) else None
    if not isinstance(names, Mapping) or not all(isinstance(name, str) for name in names.values()):
        raise FormatError(f"{index} is not an index of weights: it holds no `weight_map` of file names.")
    return sorted(set(names.values()))


def _hub_snapshot(spec: ModelSpec) -> Path:
    from transformers.utils.hub import cached_file

    try:
        config_path = cached_file(spec.pretrained, "config.json", revision=spec.revision)
    except OSError as error:
        raise MissingInputError(
            f"{spec.pretrained!r} is neither a folder nor a hub model that can be reached."
        ) from error
    return Path(str(config_path)).parent


def snapshot(spec: ModelSpec) -> Path:
    """The folder that a model's files lie in: its own, or the one in the hub's cache.

    Raises:
        MissingInputError: there is no such model.
    """
    located = locate(spec)
    folder = Path(located.pretrained)
    return folder if folder.is_dir() else _hub_snapshot(located)
