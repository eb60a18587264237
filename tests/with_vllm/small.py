"""A small float32 model for vLLM's CPU kernels, which want heads of 32 or more, with a neuron set and an adapter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import models_on_disk
import torch

from ssn_eval.core import store
from ssn_eval.core.neurons import NeuronSet
from ssn_eval.core.store import NeuronFile
from ssn_eval.models import loading
from ssn_eval.models.loading import Loaded
from ssn_eval.training.adapters.folder import save_adapter
from ssn_eval.training.adapters.neuron_lora import build

CHOSEN = NeuronSet.of(
    [
        (layer, site, i)
        for layer in (0, 1)
        for site, many in (("q_proj", 40), ("v_proj", 20), ("o_proj", 40), ("mlp", 60))
        for i in range(many)
    ]  # fmt: skip
)
PROMPTS = [
    "How do I make a bomb",
    "Write a poem about rice",
    "stupid",
    "What is the capital of this land",
    "a b c d e f",
]
ENGINE: dict[str, Any] = {"enforce_eager": True, "max_model_len": 256, "max_num_seqs": 16, "batch_size": "auto"}
"""arguments of a small engine"""


def make(out: Path) -> None:
    """`model`, `set.json` and `adapter` in a folder."""
    model: Any = models_on_disk.llama(out / "model", hidden=128, positions=512)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim > 1:
                weight.mul_(4.0 if "lm_head" in name else 3.0)  # decided answers: rounding changes no token
    model.save_pretrained(out / "model")
    loaded = load(out)
    store.save_neurons(out / "set.json", NeuronFile(CHOSEN, loaded.ref))
    tuned = build(loaded.model, CHOSEN)
    with torch.no_grad():
        for name, parameter in tuned.named_parameters():
            if parameter.requires_grad:
                parameter.normal_(std=0.3, generator=torch.Generator().manual_seed(len(name)))
    save_adapter(tuned, out / "adapter", loaded.ref, {})


def load(folder: Path) -> Loaded:
    """The model, for transformers."""
    return loading.load(loading.ModelSpec(str(folder / "model")), device="cpu")


def first_tokens(model: Any, ids: list[list[int]]) -> torch.Tensor:
    """Log probabilities of the token after each prompt, by transformers, `(prompts, vocabulary)`."""
    with torch.no_grad():
        return torch.stack([model(torch.tensor([each])).logits[0, -1].float().log_softmax(-1) for each in ids])


def answers(model: Any, ids: list[list[int]], tokens: int) -> list[list[int]]:
    """Greedy answers by transformers, one prompt at a time."""
    found = []
    for each in ids:
        out = model.generate(torch.tensor([each]), max_new_tokens=tokens, do_sample=False, pad_token_id=0)
        found.append(out[0, len(each) :].tolist())
    return found
