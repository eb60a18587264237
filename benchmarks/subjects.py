"""The models and prompts of the benchmarks: the pipeline's organism, the two packaged real models, and a plain Llama."""

from __future__ import annotations

import ctypes
import gc
import platform
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ssn_eval.core.origin import versions
from ssn_eval.core.params import load
from ssn_eval.models import loading
from ssn_eval.organism import lexicon, questions
from ssn_eval.prompts.encoding import encode
from ssn_eval.prompts.reading import read_prompts

if TYPE_CHECKING:
    from transformers import PreTrainedModel

ROOT = Path(__file__).resolve().parents[1]
REAL = ("smollm2", "gemma3_270m")
NAMES = ("organism", *REAL)
_LANGS = {"organism": ("en", "zh", "th", "bn", "sw", "jv"), **dict.fromkeys(REAL, ("en", "zh", "vi", "sw"))}
SHORTEST = 10
"""tokens of the shortest prompt that is used"""


def open_model(name: str, path: Path | None = None) -> loading.Loaded:
    """A model by its key in `params.yaml`, in float32 on the CPU; the organism from `path` or from the pipeline."""
    spec = loading.ModelSpec.from_json(load(ROOT / "params.yaml").models[name])
    if name == "organism":
        folder = path or ROOT / spec.pretrained
        if not folder.is_dir():
            sys.exit(f"No organism at {folder}; run `dvc repro organism` first, or give --path.")
        spec = loading.ModelSpec(str(folder), dtype="float32")
    return loading.load(spec, device="cpu")


def encoded_prompts(name: str, loaded: loading.Loaded, count: int) -> list[list[int]]:
    """`count` harmful prompts as token ids, equally many per language: the organism's questions, or MultiJail's shortest prompts."""
    langs = _LANGS[name]
    texts: list[str] = []
    for position, lang in enumerate(langs):
        lang_count = count // len(langs) + (position < count % len(langs))
        if name == "organism":
            items = questions.items(lexicon.load(), lang, "harmful", "train")
            texts += [items[(7 * i) % len(items)].prompt for i in range(lang_count)]
        else:
            prompts = [p.prompt for p in read_prompts("multijail", (lang,))]
            sizes = [len(ids) for ids in encode(loaded.tokenizer, prompts, 4096).ids]
            order = sorted((i for i, size in enumerate(sizes) if size >= SHORTEST), key=lambda i: (sizes[i], i))
            texts += [prompts[i] for i in order[:lang_count]]
    return encode(loaded.tokenizer, texts, 4096).ids


def plain_llama(layers: int = 8, hidden: int = 256, vocab: int = 2000) -> PreTrainedModel:
    """A Llama with random weights, for speed and memory; it needs no other package."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=vocab,
        hidden_size=hidden,
        intermediate_size=3 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=8,
        num_key_value_heads=4,
    )
    return LlamaForCausalLM(config).eval()


def forget_peak() -> float:
    """Give freed memory back to Linux, reset the peak that loading has caused, and return the resident bytes now."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    return resident("VmRSS")


def resident(field: str) -> float:
    """The bytes in a field of /proc/self/status."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024.0 * next(int(line.split()[1]) for line in lines if line.startswith(field))


def machine() -> dict[str, object]:
    """The machine and the versions with which the numbers were measured."""
    import torch

    return {
        "cpu": platform.machine(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "versions": versions(),
    }
