"""The output layer of a frozen model multiplies in one product, whatever slice of the hidden states it gets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import models_on_disk
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from ssn_eval.models import heads, loading


class Operations(TorchDispatchMode):
    """The names of the operations that ran, with the shapes of their inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.shapes: dict[str, list[tuple[int, ...]]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        shapes = self.shapes.setdefault(func.overloadpacket.__name__, [])
        shapes.extend(tuple(a.shape) for a in args if isinstance(a, torch.Tensor))
        return func(*args, **(kwargs or {}))


def copies(model: Any) -> bool:
    """Whether generation copies the output layer's weight for every prompt."""
    words = model.get_output_embeddings().weight.shape[0]
    with Operations() as operations, torch.no_grad():
        model.generate(input_ids=torch.ones(3, 5, dtype=torch.long), max_new_tokens=2, do_sample=False)
    return any(len(shape) == 3 and shape[-1] == words and shape[1] != 1 for shape in operations.shapes.get("bmm", []))


def test_a_frozen_model_copies_its_output_layer_without_help_and_not_with_it(tmp_path: Path) -> None:
    model: Any = models_on_disk.llama(tmp_path)
    before = model.generate(input_ids=torch.ones(3, 5, dtype=torch.long), max_new_tokens=2, do_sample=False)
    assert not copies(model)
    model.requires_grad_(False)
    assert copies(model), "torch or transformers has changed; heads.py may not be needed any more"
    heads.keep_fast(model)
    assert not copies(model)
    after = model.generate(input_ids=torch.ones(3, 5, dtype=torch.long), max_new_tokens=2, do_sample=False)
    assert torch.equal(before, after)


def test_every_loaded_model_is_kept_fast_once(tmp_path: Path) -> None:
    from ssn_eval.harness.model import SsnHFLM

    models_on_disk.llama(tmp_path)
    loaded = loading.load_model(str(tmp_path))
    lm = SsnHFLM.of(loaded, 1)
    own = SsnHFLM(str(tmp_path), batch_size=1)
    for model in (lm.model, own.model):
        heads.keep_fast(model)
        assert len(model.get_output_embeddings()._forward_pre_hooks) == 1
        assert not copies(model.requires_grad_(False))
