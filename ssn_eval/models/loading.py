"""Load a model and its tokenizer, and say exactly which model it is."""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssn_eval.core import files
from ssn_eval.core.errors import FormatError, MissingInputError, ParamsError, UnknownNameError
from ssn_eval.core.origin import ModelRef
from ssn_eval.core.progress import waiting
from ssn_eval.models import memory

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True)
class ModelSpec:
    """How a model is found: a hub id or a folder, or a file inside an installed Python package."""

    pretrained: str = ""
    """hub id or folder"""
    revision: str | None = None
    gguf_file: str | None = None
    """a GGUF file inside `pretrained` or the package"""
    package: str | None = None
    """an importable package that carries the model, in place of `pretrained`"""
    dtype: str = "auto"

    @classmethod
    def parse(
        cls, model: str, revision: str | None = None, gguf_file: str | None = None, dtype: str = "auto"
    ) -> ModelSpec:
        """Read a model as a command names it: `package:NAME` is an installed package, anything else a hub id or a folder."""
        package = model.removeprefix("package:") if model.startswith("package:") else None
        return cls("" if package else model, revision, gguf_file, package, dtype)

    @property
    def name(self) -> str:
        """The model's name in messages: the hub id, the folder or the package."""
        return self.pretrained or str(self.package)

    def to_json(self) -> dict[str, Any]:
        """The fields that are set."""
        return {k: v for k, v in asdict(self).items() if v not in (None, "")}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ModelSpec:
        """Read what `to_json` wrote.

        Raises:
            FormatError: an unknown key, or a value that is no text.
        """
        names = [field.name for field in fields(cls)]
        if (
            not isinstance(data, Mapping)
            or not set(data) <= set(names)
            or not all(isinstance(v, str | None) for v in data.values())
        ):
            raise FormatError(
                f"Not a model description: expected an object of texts, with no names but {', '.join(names)}."
            )
        return cls(**data)


@dataclass(frozen=True)
class Loaded:
    """A model in memory, in eval mode, with its tokenizer and identity."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    ref: ModelRef


def read_spec(path: Path) -> ModelSpec:
    """Read the pipeline's `spec.json`.

    Raises:
        MissingInputError, FormatError: it is not there, or not such a file.
    """
    return ModelSpec.from_json(files.read_json(path, "the pipeline's model description; run `dvc repro` first"))


def locate(spec: ModelSpec) -> ModelSpec:
    """Turn a `package` into the folder that it is installed in; other specs stay as they are.

    Raises:
        MissingInputError: the package is not installed or lacks the file.
        ParamsError: neither `pretrained` nor `package` is given.
    """
    if spec.package:
        return replace(spec, pretrained=str(_package_folder(spec.package, spec.gguf_file)), package=None)
    if not spec.pretrained:
        raise ParamsError("No model was named: give `pretrained`, a hub id or a folder.")
    return spec


def load(
    spec: ModelSpec, *, device: str | None = None, device_map: str | None = None, trust_remote_code: bool = False
) -> Loaded:
    """Load a causal language model with transformers (safetensors or GGUF only) and its tokenizer.

    Raises:
        MissingInputError: there is no such folder, file or hub model.
        FormatError: transformers or safetensors cannot read it as a model; the message holds their first line.
        ParamsError: torch has no such device.
        MemoryNeedError: the device cannot hold the weights.
    """
    from safetensors import SafetensorError

    check_device(device)
    with waiting(f"loading {spec.name}"):
        try:
            return _load(spec, device, device_map, trust_remote_code)
        except (ValueError, SafetensorError) as error:
            raise FormatError(f"{spec.name} cannot be read as a model: {_first_line(error)}") from error


def load_model(
    name: str,
    *,
    revision: str | None = None,
    gguf_file: str | None = None,
    dtype: str = "auto",
    device: str | None = None,
    device_map: str | None = None,
    trust_remote_code: bool = False,
) -> Loaded:
    """Load a model by name: a hub id, a folder, or `package:NAME` for a model inside an installed package.

    Raises:
        SsnError: as `load`.
    """
    spec = ModelSpec.parse(name, revision, gguf_file, dtype)
    return load(spec, device=device, device_map=device_map, trust_remote_code=trust_remote_code)


def check_device(device: str | None) -> None:
    """Stop if torch has no such device.

    Raises:
        ParamsError: says what torch says.
    """
    import torch

    try:
        if device is not None:
            torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ParamsError(f"torch cannot use the device {device!r}: {_first_line(error)}") from error


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n")[0]


def _load(spec: ModelSpec, device: str | None, device_map: str | None, trust_remote_code: bool) -> Loaded:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    located, place = locate(spec), device or default_device()
    common: dict[str, Any] = {"revision": located.revision, "trust_remote_code": trust_remote_code}
    if located.gguf_file:
        common["gguf_file"] = located.gguf_file
    weights = {} if located.gguf_file else {"use_safetensors": True}
    try:
        tokenizer = AutoTokenizer.from_pretrained(located.pretrained, **common)
        if device_map is None:
            config = AutoConfig.from_pretrained(located.pretrained, **common)
            kind = _dtype(located.dtype, config)
            memory.refuse_weights(
                memory.weight_bytes(config, kind, trust_remote_code),
                torch.device(place),
                spec.name,
            )
        model = AutoModelForCausalLM.from_pretrained(
            located.pretrained, dtype=located.dtype, device_map=device_map, **weights, **common
        )
    except OSError as error:
        raise MissingInputError(f"Could not load the model {spec.name!r}: {_first_line(error)}") from error
    if located.gguf_file:
        model = _plain(model)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    if device_map is None:
        model.to(place)  # type: ignore[arg-type]
    model.eval()
    return Loaded(model, tokenizer, reference(spec, model))


def config_of(spec: ModelSpec) -> tuple[Any, int]:
    """A model's config, and the bytes of one weight in the dtype that it is loaded in; no weights are read.

    Raises:
        MissingInputError, FormatError: no such model, or its config cannot be read.
    """
    from transformers import AutoConfig

    located = locate(spec)
    gguf = {"gguf_file": located.gguf_file} if located.gguf_file else {}
    try:
        config = AutoConfig.from_pretrained(located.pretrained, revision=located.revision, **gguf)
    except OSError as error:
        raise MissingInputError(f"Could not read the config of {spec.name!r}: {_first_line(error)}") from error
    except (ValueError, KeyError) as error:
        raise FormatError(f"{spec.name} has no config that transformers knows: {_first_line(error)}") from error
    return config, _dtype(located.dtype, config).itemsize


def default_device() -> str:
    """The first GPU, or the CPU if there is none; each of several processes gets its own GPU."""
    import torch

    return f"cuda:{os.environ.get('LOCAL_RANK', 0)}" if torch.cuda.is_available() else "cpu"


def _dtype(name: str, config: Any) -> torch.dtype:
    """The dtype that a model is loaded in: the named one, or the model's own."""
    import torch

    kind = getattr(torch, name, None) if name != "auto" else getattr(config, "dtype", None) or torch.float32
    if not isinstance(kind, torch.dtype):
        raise UnknownNameError("dtype", name, ("auto", "float32", "bfloat16", "float16"))
    return kind


def _plain(model: PreTrainedModel) -> PreTrainedModel:
    """A model read from GGUF has plain weights but still counts as quantized: it can be neither trained nor saved. Copy it."""
    import copy

    from transformers import AutoModelForCausalLM

    config: Any = copy.deepcopy(model.config)
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    plain: PreTrainedModel = AutoModelForCausalLM.from_config(config, dtype=model.dtype)
    plain.load_state_dict(model.state_dict())
    plain.generation_config = model.generation_config
    return plain


def reference(spec: ModelSpec, model: PreTrainedModel) -> ModelRef:
    """The identity of a loaded model: its id, a hash of its weight files, its type and shape."""
    from ssn_eval.models.architectures.resolving import geometry

    name = spec.pretrained or f"package:{spec.package}"
    return ModelRef(
        files.portable(name), weights_hash(locate(spec)), str(model.config.model_type), geometry(model), spec.revision
    )


def weights_hash(spec: ModelSpec) -> str:
    """sha256 over the weight files' names and contents; the same for a hub model and a copy of its folder.

    Raises:
        MissingInputError: no weight file is there.
    """
    folder = Path(spec.pretrained)
    if not folder.is_dir():
        folder = _hub_snapshot(spec)
    weights = [folder / spec.gguf_file] if spec.gguf_file else _weight_files(folder)
    weights = [w for w in weights if w.is_file()]
    if not weights:
        raise MissingInputError(
            f"No weights (safetensors or GGUF) in {spec.pretrained}; give a model folder or a hub id."
        )
    return _hash_of(tuple((str(w), w.stat().st_size, w.stat().st_mtime_ns) for w in weights))


@lru_cache(maxsize=32)
def _hash_of(weights: tuple[tuple[str, int, int], ...]) -> str:
    import hashlib

    digest = hashlib.sha256()
    for name, _, _ in weights:
        path = Path(name)
        digest.update(f"{path.name}\0{_content_hash(path)}\n".encode())
    return digest.hexdigest()


def _content_hash(path: Path) -> str:
    """The hub's cache names large files by their sha256, so a cached model needs no second reading."""
    blob = path.resolve().name
    return (
        blob if path.is_symlink() and len(blob) == 64 and set(blob) <= set("0123456789abcdef") else files.sha256(path)
    )


def _weight_files(folder: Path) -> list[Path]:
    paths = sorted(p for p in folder.glob("*.safetensors") if not p.name.startswith("adapter"))
    return paths or sorted(folder.glob("pytorch_model*.bin"))


def _hub_snapshot(spec: ModelSpec) -> Path:
    from transformers.utils.hub import cached_file

    try:
        config = cached_file(spec.pretrained, "config.json", revision=spec.revision)
    except OSError as error:
        raise MissingInputError(f"{spec.pretrained!r} is neither a folder nor a hub model within reach.") from error
    return Path(str(config)).parent


def _package_folder(package: str, gguf_file: str | None) -> Path:
    if not all(part.isidentifier() for part in package.split(".")):
        raise ParamsError(f"{package[:80]!r} is no name of a Python package.")
    try:
        module_spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        module_spec = None
    if module_spec is None or module_spec.origin is None:
        raise MissingInputError(
            f"The model package {package!r} is not installed; pip install {package.replace('_', '-')}."
        )
    folder = Path(module_spec.origin).parent
    if gguf_file is None or (folder / gguf_file).is_file():
        return folder
    module = importlib.import_module(package)
    if not hasattr(module, "assemble"):
        raise MissingInputError(f"The package {package!r} holds no {gguf_file}.")
    try:
        return Path(module.assemble()).parent  # a model in parts: put together once, in the user's cache
    except ImportError as error:
        raise MissingInputError(
            f"A part of {package!r} is not installed ({error}); pip install {package.replace('_', '-')}."
        ) from error
