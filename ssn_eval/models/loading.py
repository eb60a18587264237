"""Load a model and its tokenizer.

`specs` names a model, and `identity` says exactly which one it is; their public names can be taken from here too.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ssn_eval.core.errors import FormatError, MissingInputError, ParamsError, UnknownNameError
from ssn_eval.core.origin import ModelRef
from ssn_eval.core.progress import waiting
from ssn_eval.models import generation, heads, memory, quantization, templates
from ssn_eval.models.classes import auto_class
from ssn_eval.models.generation import Completion
from ssn_eval.models.identity import reference as reference
from ssn_eval.models.identity import snapshot as snapshot
from ssn_eval.models.identity import weights_hash as weights_hash
from ssn_eval.models.specs import ModelSpec as ModelSpec
from ssn_eval.models.specs import locate as locate
from ssn_eval.models.specs import read_spec as read_spec
from ssn_eval.models.templates import Template
from ssn_eval.models.tokens import leave_out_end

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


UNREADABLE = (ValueError, KeyError, TypeError, AttributeError, ImportError, RuntimeError)
"""errors that transformers raises for a model that it cannot read: a wrong config, another shape, a missing library"""
_OUTSIDE_DECODER = ("vis", "image", "audio", "multi_modal", "mm_", "mtp", "rotary", "talker")
"""parts of the names of weights that belong neither to the decoder nor to its head"""


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

    def complete(self, texts: Sequence[str], *, max_new_tokens: int, batch_size: int) -> list[Completion]:
        """Answer user prompts greedily, as `generation.complete`."""
        return generation.complete(
            self.model, self.tokenizer, texts, max_new_tokens=max_new_tokens, batch_size=batch_size
        )


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
    heads.keep_fast(model)
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
