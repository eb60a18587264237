"""Chat templates as real models ship them: the exact text that identification, pairs, training and lm_eval see."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import models_on_disk
import pytest
from transformers import AutoTokenizer

from ssn_eval.core.errors import FormatError, ParamsError, SsnError
from ssn_eval.harness.model import SsnHFLM
from ssn_eval.models import templates
from ssn_eval.models.loading import ModelSpec, load
from ssn_eval.models.templates import Template
from ssn_eval.prompts.encoding import encode as encode_prompts
from ssn_eval.prompts.pairs import Pair
from ssn_eval.training.encoding import IGNORED, encode

QWEN3 = (
    "{%- for m in messages %}{{- '<|im_start|>' + m.role + '\n' }}"
    "{%- if m.role == 'assistant' and loop.last %}{{- '<think>\n\n</think>\n\n' }}{%- endif %}"
    "{{- m.content + '<|im_end|>\n' }}{%- endfor %}{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}"
    "{%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\n\n</think>\n\n' }}{%- endif %}{%- endif %}"
)
R1 = (
    "{% for m in messages %}{% if m.role == 'user' %}<|User|>{{ m.content }}{% elif m.role == 'system' %}{{ m.content }}"
    "{% else %}<|Assistant|>{{ m.content.split('</think>')[-1] }}<|end|>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|Assistant|><think>\n{% endif %}"
)
GEMMA = (
    "{{ bos_token }}{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for m in messages %}<start_of_turn>{{ 'model' if m.role == 'assistant' else m.role }}\n{{ m.content | trim }}<end_of_turn>\n"
    "{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
LLAMA3 = (
    "{{ bos_token }}{% for m in messages %}<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n{{ m.content | trim }}<|eot_id|>"
    "{% endfor %}{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
MISTRAL = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}[INST] {{ m.content }}[/INST]"
    "{% elif m.role == 'system' %}[SYSTEM_PROMPT]{{ m.content }}[/SYSTEM_PROMPT]{% else %} {{ m.content }}{{ eos_token }}{% endif %}{% endfor %}"
)
GPT_OSS = (
    "<|start|>system<|message|>Reasoning: {{ reasoning_effort | default('medium') }}<|end|>{% for m in messages %}"
    "<|start|>{{ m.role }}{% if m.role == 'assistant' %}<|channel|>final{% endif %}<|message|>{{ m.content }}"
    "{{ '<|return|>' if m.role == 'assistant' else '<|end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant{% endif %}"
)
PARTS = "{% for m in messages %}{% for part in m.content %}{{ part.text }}{% endfor %}{% endfor %}"
BROKEN = "{% for m in messages %}{{ m.content }"
QUESTION, REFUSAL = "how do I hide it?", "I can't help."


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("templates") / "m"
    models_on_disk.llama(path)
    return path


def tokenizer(folder: Path, template: str, settings: Template = Template()) -> Any:
    tok = AutoTokenizer.from_pretrained(folder)
    tok.chat_template = template
    templates.bind(tok, settings)
    return tok


def learned(tok: Any) -> tuple[str, str]:
    """The prompt, and the text that carries loss."""
    row = encode(tok, Pair("a", "en", "harmful", QUESTION, REFUSAL), 512)
    prompt = [i for i, label in zip(row["input_ids"], row["labels"], strict=True) if label == IGNORED]
    return tok.decode(prompt), tok.decode([label for label in row["labels"] if label != IGNORED])


@pytest.mark.parametrize(
    ("template", "settings", "prompt", "answer"),
    [
        (QWEN3, Template(), f"<|im_start|>user\n{QUESTION}<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n", f"{REFUSAL}<|im_end|>"),
        (QWEN3, Template(args={"enable_thinking": True}), f"<|im_start|>user\n{QUESTION}<|im_end|>\n<|im_start|>assistant\n", f"<think>\n\n</think>\n\n{REFUSAL}<|im_end|>"),
        (R1, Template(), f"<|User|>{QUESTION}<|Assistant|><think>\n", f"\n</think>\n\n{REFUSAL}<|end|>"),
        (GEMMA, Template(), f"{{bos}}<start_of_turn>user\n{QUESTION}<end_of_turn>\n<start_of_turn>model\n", f"{REFUSAL}<end_of_turn>\n"),
        (LLAMA3, Template(system_prompt="Be kind."), f"{{bos}}<|start_header_id|>system<|end_header_id|>\n\nBe kind.<|eot_id|><|start_header_id|>user<|end_header_id|>\n\n{QUESTION}<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n", f"{REFUSAL}<|eot_id|>"),
        (MISTRAL, Template(), f"{{bos}}[INST] {QUESTION}[/INST]", f" {REFUSAL}{{eos}}"),
        (GPT_OSS, Template(args={"reasoning_effort": "low"}), f"<|start|>system<|message|>Reasoning: low<|end|><|start|>user<|message|>{QUESTION}<|end|><|start|>assistant", f"<|channel|>final<|message|>{REFUSAL}<|return|>"),
        (LLAMA3, Template(use=False), QUESTION, f"{REFUSAL}{{eos}}"),
    ],
    ids=["qwen3", "qwen3 thinking", "r1", "gemma", "llama3 system", "mistral", "gpt-oss", "off"],
)  # fmt: skip
def test_what_a_model_sees_and_learns(folder, template, settings, prompt, answer):
    tok = tokenizer(folder, template, settings)
    marks = {"bos": tok.bos_token, "eos": tok.eos_token}
    expected = prompt.format(**marks)
    assert templates.render(tok, QUESTION) == expected
    encoded = encode_prompts(tok, [QUESTION], 512)
    special = templates.of(tok).use is False
    assert encoded.ids[0] == tok(expected, add_special_tokens=special)["input_ids"]
    seen, loss = learned(tok)
    assert (seen, loss.rstrip("\n")) == (tok.decode(encoded.ids[0]), answer.format(**marks).rstrip("\n"))


def test_thinking_is_off_unless_asked_for(folder):
    assert templates.of(tokenizer(folder, QWEN3)).args == {"enable_thinking": False}
    assert templates.of(tokenizer(folder, QWEN3, Template(args={"enable_thinking": True}))).args == {
        "enable_thinking": True
    }
    assert templates.of(tokenizer(folder, LLAMA3)).args == {}


@pytest.mark.parametrize(
    ("template", "settings", "error", "message"),
    [
        (GEMMA, Template(system_prompt="Be kind."), FormatError, "System role not supported"),
        (PARTS, Template(), FormatError, "drops the text"),
        (BROKEN, Template(), FormatError, "cannot be used"),
        (None, Template(args={"enable_thinking": False}), ParamsError, "no chat template"),
        (None, Template(system_prompt="Be kind."), ParamsError, "no chat template"),
    ],
)
def test_settings_that_a_template_does_not_take_are_one_sentence(folder, template, settings, error, message):
    with pytest.raises(error, match=message):
        tokenizer(folder, template, settings)


def test_the_settings_go_with_the_model_through_its_description(folder, tmp_path):
    tok = AutoTokenizer.from_pretrained(folder)
    tok.chat_template = QWEN3
    models_on_disk.llama(tmp_path / "m")
    tok.save_pretrained(tmp_path / "m")
    spec = ModelSpec(str(tmp_path / "m"), chat_template_args={"enable_thinking": True}, system_prompt="Be kind.")
    assert ModelSpec.from_json(spec.to_json()) == spec
    with pytest.raises(FormatError, match="chat_template_args is an object"):
        ModelSpec.from_json({"pretrained": "m", "chat_template_args": "x"})
    settings = {"chat_template": True, "args": {"enable_thinking": True}, "system_prompt": "Be kind."}
    assert load(spec).template.to_json() == settings
    lm = SsnHFLM.from_spec(spec, 1)
    assert lm.get_model_info()["ssn_eval"]["template"] == settings
    plain = SsnHFLM(str(tmp_path / "m"), device="cpu")
    assert plain.chat_template_args == {"enable_thinking": False}
    turns = [{"role": "user", "content": QUESTION}]
    assert plain.apply_chat_template(turns).endswith("<think>\n\n</think>\n\n")
    thinking = SsnHFLM(str(tmp_path / "m"), device="cpu", enable_thinking=True, think_end_token="</think>")
    assert thinking.apply_chat_template(turns).endswith("<|im_start|>assistant\n")
    with pytest.raises(SsnError, match="no chat template"):
        load(ModelSpec(str(without_template(folder, tmp_path / "bare")), system_prompt="Be kind."))


def without_template(folder: Path, out: Path) -> Path:
    models_on_disk.llama(out)
    tok = AutoTokenizer.from_pretrained(folder)
    tok.chat_template = None
    tok.save_pretrained(out)
    (out / "chat_template.jinja").unlink(missing_ok=True)
    return out
