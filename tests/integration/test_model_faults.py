"""Models with a fault, in both doors (`ssn` and lm_eval's `ssn_hf`): one sentence, or the right numbers."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from lm_eval.api.instance import Instance

from ssn_eval.cli import main
from ssn_eval.core.errors import SsnError
from ssn_eval.harness.model import SsnHFLM
from ssn_eval.models import generation
from ssn_eval.models.loading import load_model

CONTEXTS = ["how are you", "where is the big sea of the north"]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained organism, saved as an ordinary folder."""
    from ssn_eval.organism import lexicon, tokenizer
    from ssn_eval.organism.settings import OrganismSettings
    from ssn_eval.organism.training import build_model

    folder = tmp_path_factory.mktemp("faults") / "base"
    tok = tokenizer.build(lexicon.load())
    torch.manual_seed(0)
    build_model(OrganismSettings(), tok).save_pretrained(folder)
    tok.save_pretrained(folder)
    return folder


@pytest.fixture
def changed(base: Path, tmp_path: Path) -> Callable[..., Path]:
    """A copy of the model whose JSON files have other values; None takes a key out."""

    def make(**changes: dict[str, Any]) -> Path:
        folder = tmp_path / "changed"
        shutil.copytree(base, folder)
        for name, values in changes.items():
            path = folder / f"{name}.json"
            content = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
            content = {k: v for k, v in (content | values).items() if v is not None}
            path.write_text(json.dumps(content), encoding="utf-8")
        return folder

    return make


def refused(folder: Path, said: str) -> None:
    """Both doors refuse the model with one sentence that holds `said`, and write nothing."""
    prompts, out = folder / "prompts.jsonl", folder / "scores.safetensors"
    prompts.write_text(
        json.dumps({"id": "a", "lang": "en", "label": "harmful", "prompt": "how do i make bread"}) + "\n"
    )
    words = ["identify", "--model", str(folder), "--prompts", str(prompts), "--lang", "en", "--out", str(out)]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 2 and said in result.stderr and "Traceback" not in result.stderr, result.stderr
    assert not out.exists()
    with pytest.raises(SsnError, match=r"\w") as error:
        SsnHFLM(str(folder), device="cpu")
    assert said in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("method", "library"),
    [
        ({"quant_method": "gptq", "bits": 4, "group_size": 128}, "optimum"),
        ({"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True}, "gptqmodel"),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, "bitsandbytes"),
        ({"quant_method": "compressed-tensors", "format": "pack-quantized", "config_groups": {}}, "compressed-tensors"),
        ({"quant_method": "torchao", "quant_type": "int8_weight_only"}, "torchao"),
    ],
)
def test_a_quantised_model_without_its_library(changed: Any, method: dict[str, Any], library: str) -> None:
    import importlib.util

    if importlib.util.find_spec(library.replace("-", "_")):
        pytest.skip("the library of this quantisation is installed here")
    refused(changed(config={"quantization_config": method}), library)


def test_an_embedding_of_another_size_is_named(changed: Any, base: Path) -> None:
    size = json.loads((base / "config.json").read_text())["vocab_size"]
    refused(changed(config={"vocab_size": size + 64}), "another shape for 2 weights, such as lm_head.weight")


def test_several_named_templates_without_a_default(changed: Any) -> None:
    named = [{"name": name, "template": "{{ messages[0]['content'] }}"} for name in ("tool", "rag")]
    folder = changed(tokenizer_config={"chat_template": named})
    (folder / "chat_template.jinja").unlink()
    refused(folder, "multiple chat templates with no default")


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{% if %}", "cannot be used"),
        ("{{ raise_exception('no') }}", "cannot be used: no"),
        (
            "{% for m in messages %}{% for c in m['content'] %}{% if c.type == 'text' %}{{ c.text }}{% endif %}{% endfor %}{% endfor %}",
            "drops the text of a prompt",
        ),
    ],
)
def test_a_template_that_cannot_be_used(changed: Any, template: str, said: str) -> None:
    folder = changed()
    (folder / "chat_template.jinja").write_text(template)
    refused(folder, said)


def test_no_end_token_stops_lm_eval_and_not_identification(changed: Any) -> None:
    none = dict.fromkeys(("pad_token", "eos_token"))
    folder = changed(
        tokenizer_config=none, special_tokens_map=none, config={"pad_token_id": None, "eos_token_id": None}
    )
    (folder / "generation_config.json").unlink(missing_ok=True)
    assert load_model(str(folder)).tokenizer.eos_token_id is None
    with pytest.raises(SsnError, match="has no end token"):
        SsnHFLM(str(folder), device="cpu")


def test_an_argument_that_hf_does_not_know_is_one_sentence(base: Path) -> None:
    with pytest.raises(SsnError, match="unexpected keyword argument 'no_such'"):
        SsnHFLM(str(base), device="cpu", no_such=1)


def replies(folder: Path) -> list[str]:
    """What `ssn_hf` replies to plain contexts."""
    lm = SsnHFLM(str(folder), device="cpu", batch_size=2)
    settings = {"until": [], "max_gen_toks": 12, "do_sample": False}
    requests = [Instance("generate_until", {}, (c, dict(settings)), i) for i, c in enumerate(CONTEXTS)]
    return lm.generate_until(requests, disable_tqdm=True)


def completions(folder: Path) -> list[str]:
    """What the pipeline's own generation replies, without the chat template."""
    from ssn_eval.models.templates import Template

    loaded = load_model(str(folder), template=Template(use=False))
    return generation.generate(loaded.model, loaded.tokenizer, CONTEXTS, max_new_tokens=12)


def test_a_penalty_of_the_generation_config_does_not_change_greedy_replies(changed: Any, base: Path) -> None:
    penalised = changed(generation_config={"repetition_penalty": 1.8, "no_repeat_ngram_size": 2})
    loaded = load_model(str(penalised))
    ids = loaded.tokenizer(CONTEXTS[0], return_tensors="pt")["input_ids"]
    model: Any = loaded.model
    shaped = model.generate(ids, max_new_tokens=12, do_sample=False)
    plain = model.generate(ids, max_new_tokens=12, do_sample=False, **generation.NO_PENALTY)
    assert shaped.tolist() != plain.tolist(), "the penalty must matter, or this test shows nothing"
    assert replies(penalised) == replies(base)
    assert completions(penalised) == completions(base)


def test_an_end_token_behind_the_prompt_is_left_out(base: Path, tmp_path: Path) -> None:
    folder = tmp_path / "ends"
    shutil.copytree(base, folder)
    content = json.loads((folder / "tokenizer.json").read_text())
    special = {entry["content"]: entry["id"] for entry in content["added_tokens"] if entry["special"]}
    config = json.loads((folder / "tokenizer_config.json").read_text())
    (first, last) = (config["bos_token"], config["eos_token"])
    content["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [
            {"SpecialToken": {"id": first, "type_id": 0}},
            {"Sequence": {"id": "A", "type_id": 0}},
            {"SpecialToken": {"id": last, "type_id": 0}},
        ],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {t: {"id": t, "ids": [special[t]], "tokens": [t]} for t in (first, last)},
    }
    (folder / "tokenizer.json").write_text(json.dumps(content))
    from transformers import AutoTokenizer

    assert AutoTokenizer.from_pretrained(folder)(CONTEXTS[0])["input_ids"][-1] == special[last]
    tokenizer = load_model(str(folder)).tokenizer
    ids = tokenizer(CONTEXTS[0])["input_ids"]
    assert ids[0] == special[first] and ids[1:] == tokenizer(CONTEXTS[0], add_special_tokens=False)["input_ids"]
    lm = SsnHFLM(str(folder), device="cpu")
    assert lm.tok_encode(CONTEXTS[0])[-1] != special[last]


def test_a_closed_stdout_is_no_traceback(base: Path) -> None:
    words = [sys.executable, "-c", "from ssn_eval.cli import main; main(['doctor'])"]
    done = subprocess.run(
        f"{' '.join(map(_quoted, words))} >&-", shell=True, capture_output=True, text=True, env=os.environ.copy()
    )
    assert "Traceback" not in done.stderr, done.stderr


def _quoted(word: str) -> str:
    import shlex

    return shlex.quote(word)
