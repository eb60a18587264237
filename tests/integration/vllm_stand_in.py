"""A stand-in for vLLM's modules, so that lm_eval's real class of it runs without vLLM: its engine is transformers."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

ENGINES: list[Any] = []
"""every engine that was started, the last one at the end"""


class Engine:
    """`vllm.LLM`: remembers its arguments, and answers greedily by transformers."""

    def __init__(self, **arguments: Any) -> None:
        from transformers import AutoModelForCausalLM

        self.arguments, self.reloaded, self.requests = arguments, [], []
        self.llm_engine = types.SimpleNamespace(model_config=types.SimpleNamespace(max_model_len=128))
        self.transformers: Any = AutoModelForCausalLM.from_pretrained(arguments["model"]).eval()
        ENGINES.append(self)

    def generate(self, prompts: Any, sampling_params: Any, use_tqdm: bool = False, lora_request: Any = None) -> Any:
        """One output a prompt."""
        import torch

        self.requests.append(lora_request)
        found = []
        for prompt, sampling in zip(prompts, sampling_params, strict=True):
            ids = torch.tensor([prompt["prompt_token_ids"]])
            out = self.transformers.generate(
                ids, max_new_tokens=sampling.max_tokens, do_sample=False, repetition_penalty=1.0
            )
            new = out[0, ids.shape[1] :].tolist()
            ended = new[-1] == self.transformers.generation_config.eos_token_id
            text = TOKENIZERS[self.arguments["model"]].decode(new, skip_special_tokens=True)
            answer = types.SimpleNamespace(text=text, token_ids=new, finish_reason="stop" if ended else "length")
            found.append(types.SimpleNamespace(outputs=[answer]))
        return found

    def collective_rpc(self, method: str, kwargs: Any) -> None:
        """Only `reload_weights`."""
        from transformers import AutoModelForCausalLM

        assert method == "reload_weights"
        self.reloaded.append(kwargs["weights_path"])
        self.transformers = AutoModelForCausalLM.from_pretrained(kwargs["weights_path"]).eval()

    def reset_prefix_cache(self) -> bool:
        """Nothing is kept."""
        return True


TOKENIZERS: dict[str, Any] = {}


def _tokenizer(name: str, **_: Any) -> Any:
    from transformers import AutoTokenizer

    TOKENIZERS[name] = AutoTokenizer.from_pretrained(name)
    return TOKENIZERS[name]


@contextmanager
def installed() -> Iterator[Any]:
    """`ssn_vllm` on the stand-in, in place of vLLM; the modules that know it are forgotten afterwards."""
    from lm_eval.api.registry import model_registry

    from ssn_eval.harness.served import library

    ours, theirs = "ssn_eval.harness.served.model", "lm_eval.models.vllm_causallms"
    fakes: dict[str, dict[str, Any]] = {
        "vllm": {
            "LLM": Engine,
            "SamplingParams": lambda **kwargs: types.SimpleNamespace(**kwargs),
            "TokensPrompt": dict,
        },
        "vllm.lora": {},
        "vllm.lora.request": {"LoRARequest": lambda *parts: parts},
        "vllm.renderers": {},
        "vllm.renderers.hf": {"resolve_chat_template": lambda **_: None},
        "vllm.tokenizers": {"get_tokenizer": _tokenizer},
    }
    version, find = importlib.metadata.version, importlib.util.find_spec
    with pytest.MonkeyPatch.context() as patch:
        for name, contents in fakes.items():
            module = types.ModuleType(name)
            vars(module).update(contents)
            patch.setitem(sys.modules, name, module)
        patch.setattr(importlib.metadata, "version", lambda name: "0.32.0" if name == "vllm" else version(name))
        for name in (ours, theirs):
            sys.modules.pop(name, None)
        # an earlier test may have read lm_eval's class; it is imported again, so the registry gets its place back in the meantime
        patch.setitem(model_registry._objs, "vllm", f"{theirs}:VLLM")
        library._lm_eval_class.cache_clear()
        ENGINES.clear()
        found = importlib.import_module(ours).SsnVLLM
        assert theirs in sys.modules, library._lm_eval_class()[1]
        patch.setattr(sys.modules[theirs], "find_spec", lambda name: True if name == "vllm" else find(name))
        yield found
        for name in (ours, theirs):
            sys.modules.pop(name, None)
    library._lm_eval_class.cache_clear()
