"""LAPE's neuron files: `torch.save` of a list of languages, each a list of layers, each an int64 tensor of MLP indices.

    [[tensor([3, 17]), tensor([])], [tensor([5]), tensor([2])]]      # two languages, two layers

Source: https://github.com/RUCAIBox/Language-Specific-Neurons (ACL 2024), where `identify.py` writes it and `ppl.py` and
`generation.py` zero the activation of those MLP neurons. The file does not name its languages: theirs are en, zh, fr, es,
vi, id, ja (LLaMA), in this order. It is a pickle, so it is read with `weights_only=True`, which builds tensors and plain
containers and runs nothing.
"""

from __future__ import annotations

import io
import pickle
import warnings
from collections.abc import Sequence
from typing import Any

from ssn_eval.core.errors import EmptySetError, FormatError, MismatchError, ParamsError
from ssn_eval.core.neurons import NeuronSet, site_key
from ssn_eval.exchange.formats.reading import MOST, Found, refuse_bomb, whole

_WHAT = "a LAPE file (languages × layers of index tensors)"


def dump(neurons: NeuronSet, num_layers: int) -> bytes:
    """A file of one language, with a tensor (maybe empty) for every layer; only `mlp` neurons are written."""
    import torch

    by_key = neurons.by_key()
    layers = [torch.tensor(by_key.get(site_key(i, "mlp"), []), dtype=torch.int64) for i in range(num_layers)]
    # To memory: torch writes the name of a path into the archive, and equal sets are to give equal bytes.
    buffer = io.BytesIO()
    torch.save([layers], buffer)
    return buffer.getvalue()


def parse(data: bytes, name: str, num_layers: int, language: int | None = None) -> Found:
    """Read one language of such a file.

    Raises:
        FormatError: it is no such file, or holds anything but lists of whole-number tensors.
        ParamsError: it has several languages and none was chosen, or not that one.
        MismatchError: another number of layers than the model.
        EmptySetError: it has no language.
    """
    languages = _load(data, name)
    if not isinstance(languages, Sequence) or isinstance(languages, str | bytes):
        raise FormatError(f"{name} is not {_WHAT}: it holds {type(languages).__name__}.")
    if not languages:
        raise EmptySetError(f"{name} holds no language.")
    if language is None and len(languages) > 1:
        raise ParamsError(
            f"{name} holds {len(languages)} languages; choose one with --language 0…{len(languages) - 1}."
        )
    language_index = language or 0
    if not 0 <= language_index < len(languages):
        raise ParamsError(
            f"{name} holds {len(languages)} languages, counted from 0; it has no --language {language_index}."
        )
    layers = languages[language_index]
    if not isinstance(layers, Sequence) or isinstance(layers, str | bytes):
        raise FormatError(f"{name} is not {_WHAT}: language {language_index} is {type(layers).__name__}.")
    if len(layers) != num_layers:
        raise MismatchError(f"{name} has {len(layers)} layers, but the model has {num_layers}.")
    indices = ((layer, i) for layer, tensor in enumerate(layers) for i in _indices(tensor, layer, name))
    return Found(NeuronSet.of((layer, "mlp", index) for layer, index in indices))


def _load(data: bytes, name: str) -> Any:
    import torch

    refuse_bomb(data, name)
    try:
        with warnings.catch_warnings():  # of a pickle's protocol: the errors below say what matters
            warnings.simplefilter("ignore")
            return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise FormatError(
            f"{name} is not {_WHAT}: it is no pickle of tensors and lists alone, and nothing else is read."
        ) from error
    except Exception as error:  # a damaged archive makes torch raise nearly anything
        raise FormatError(f"{name} is not {_WHAT}: torch cannot read it ({type(error).__name__}).") from error


def _indices(tensor: object, layer: int, name: str) -> list[int]:
    import torch

    plain = isinstance(tensor, torch.Tensor) and tensor.layout == torch.strided and tensor.device.type == "cpu"
    if not isinstance(tensor, torch.Tensor) or not plain or tensor.ndim != 1:
        raise FormatError(f"{name} is not {_WHAT}: layer {layer} holds no vector of indices.")
    if tensor.numel() > MOST:  # a tensor that repeats one number needs no room in the file
        raise FormatError(f"{name}: layer {layer} holds {tensor.numel()} indices, more than any model has neurons.")
    # `torch.tensor([])` is float: an empty layer says nothing of the type.
    if tensor.numel() and (tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool):
        raise FormatError(f"{name}: the indices of layer {layer} are {tensor.dtype}, not whole numbers.")
    return [whole(i, f"an index of layer {layer}", name) for i in tensor.tolist()]
