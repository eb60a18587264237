"""A batch that is refilled gives the replies of whole batches; what is not plain greedy decoding runs in whole batches."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import models_on_disk
import pytest
import torch
from lm_eval.api.instance import Instance
from transformers import GenerationConfig, MistralConfig, MistralForCausalLM

from ssn_eval.core.neurons import NeuronSet
from ssn_eval.harness import endings, refilled
from ssn_eval.harness.model import SsnHFLM
from ssn_eval.interventions.hooks import intervene
from ssn_eval.models import refilling

LENGTHS = (3, 9, 4, 1, 12, 5, 7, 2, 6, 8, 5)
TOKENS, ROWS, PAD = 21, 3, 0
END = 6
"""one token in so many ends a reply, so that replies differ in length"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("refilled")
    model: Any = models_on_disk.llama(out)
    decided(model)
    model.generation_config.eos_token_id = list(range(END, model.config.vocab_size, END))
    model.save_pretrained(out)
    return out


def decided(model: Any) -> None:
    """Make the weights larger: rounding changes no token then."""
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim > 1:
                weight.mul_(4.0)


def prompts(vocabulary: int) -> list[list[int]]:
    drawn = torch.Generator().manual_seed(0)
    return [torch.randint(5, vocabulary, (length,), generator=drawn).tolist() for length in LENGTHS]


def alone(model: Any, prompt: list[int]) -> list[int]:
    out = model.generate(torch.tensor([prompt]), max_new_tokens=TOKENS, do_sample=False, pad_token_id=PAD)
    return out[0, len(prompt) :].tolist()


def test_every_reply_is_the_one_that_its_prompt_gets_alone(folder: Path) -> None:
    model = SsnHFLM(str(folder), device="cpu").model
    asked, ends = prompts(model.config.vocab_size), set(model.generation_config.eos_token_id)
    widths: list[int] = []

    def generate(**options: Any) -> Any:
        widths.append(len(options["input_ids"]))
        return model.generate(**options, do_sample=False, pad_token_id=PAD)

    def has_ended(tokens: list[int]) -> bool:
        return not ends.isdisjoint(tokens)

    given = {"rows": ROWS, "max_new_tokens": TOKENS, "pad": PAD, "device": "cpu", "has_ended": has_ended}
    expected = [alone(model, prompt) for prompt in asked]
    found = {reply.prompt: reply.tokens for reply in refilling.replies(generate, asked, **given)}
    for place, tokens in enumerate(expected):
        assert found[place][: len(tokens)] == tokens
        assert set(found[place][len(tokens) :]) <= {PAD}, "only padding lies behind an end token"
    assert len({len(tokens) for tokens in expected}) > 3 and TOKENS in map(len, expected)
    assert max(widths) == ROWS


def texts(lm: SsnHFLM, **settings: Any) -> tuple[list[str], list[bool | None]]:
    contexts = [lm.tok_decode(prompt) for prompt in prompts(lm.model.config.vocab_size)]
    values = {"until": [], "max_gen_toks": TOKENS, "do_sample": False, **settings}
    requests = [Instance("generate_until", {}, (context, values), i) for i, context in enumerate(contexts)]
    replies = lm.generate_until(requests, disable_tqdm=True)
    return replies, [endings.finished(request) for request in requests]


@pytest.mark.parametrize("stops", [[], ["a"]])
def test_ssn_hf_gives_the_replies_of_whole_batches(folder: Path, monkeypatch: Any, stops: list[str]) -> None:
    lm = SsnHFLM(str(folder), device="cpu", batch_size=ROWS)
    stop = [lm.tok_decode([alone(lm.model, prompts(lm.model.config.vocab_size)[0])[0]])] if stops else []
    refills, calls = refilling.replies, []
    monkeypatch.setattr(refilling, "replies", lambda *a, **k: calls.append(1) or refills(*a, **k))
    found = texts(lm, until=stop)
    assert calls and lm.batch_size == ROWS
    monkeypatch.setattr(refilled, "is_plain", lambda *_, **__: False)
    calls.clear()
    assert found == texts(lm, until=stop) and not calls
    assert {True, False} == set(found[1])


def test_a_model_whose_states_cannot_join_runs_in_whole_batches(folder: Path, tmp_path: Path, monkeypatch: Any) -> None:
    words = SsnHFLM(str(folder), device="cpu").tokenizer
    torch.manual_seed(0)
    config = MistralConfig(
        vocab_size=len(words), hidden_size=32, intermediate_size=48, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=128, sliding_window=8, eos_token_id=words.eos_token_id,
    )  # fmt: skip
    model: Any = MistralForCausalLM(config)
    decided(model)
    model.save_pretrained(tmp_path)
    words.save_pretrained(tmp_path)
    lm = SsnHFLM(str(tmp_path), device="cpu", batch_size=ROWS)
    found = texts(lm)
    monkeypatch.setattr(refilled, "is_plain", lambda *_, **__: False)
    assert found == texts(lm)


def test_what_runs_in_whole_batches(folder: Path) -> None:
    plain = partial(refilled.is_plain, end_texts=["</s>"], thinks=False)
    greedy, config = {"until": ["</s>", "."], "max_gen_toks": 4, "do_sample": False}, GenerationConfig()

    def asked(**settings: Any) -> list[Any]:
        return [SimpleNamespace(args=("text", {**greedy, **settings}))] * 3

    assert plain(asked(), 2, config) and plain(asked(temperature=0.0), 2, config)
    assert not plain(asked(), 3, config), "nothing to refill with"
    assert not plain(asked(), "auto", config)
    assert not plain(asked(do_sample=True), 2, config)
    assert not plain(asked(min_new_tokens=2), 2, config), "counted from what generate is given"
    assert not plain(asked(), 2, GenerationConfig(forced_eos_token_id=1)), "forced at the end of every part"
    assert not plain(asked(), 2, config, thinks=True), "a stop sequence may lie in the thought"
    assert plain(asked(until=["</s>"]), 2, config, thinks=True)
    lm = SsnHFLM(str(folder), device="cpu", batch_size=2)
    assert lm._may_refill(asked())
    with intervene(lm.model, NeuronSet.of([(0, "mlp", 1)]), "suppress", positions="generated"):
        assert not lm._may_refill(asked())
