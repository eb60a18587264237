"""identify → select → show → export → diff on a tiny Llama saved to a folder, and the mistakes that need a model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result

from ssn_eval.cli import main
from ssn_eval.core import store

WORDS = ("how", "to", "make", "bake", "a", "bomb", "cake", "please", "write", "poem", "steal", "car")


class Made(NamedTuple):
    """A model folder and a prompt file beside it."""

    model: Path
    prompts: Path


def save_model(folder: Path, seed: int, layers: int = 2) -> Path:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    vocab = {word: i for i, word in enumerate(("<pad>", "<eos>", "<unk>", *WORDS))}
    backend = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()  # pyright: ignore[reportAttributeAccessIssue]
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>"
    )
    tokenizer.save_pretrained(folder)
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(vocab),
        hidden_size=32,
        intermediate_size=40,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=8,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("cli")
    rows = []
    for lang in ("en", "th"):
        for label, verbs in (("harmful", ("bomb", "steal", "car")), ("harmless", ("cake", "poem", "bake"))):
            for i, verb in enumerate(verbs):
                text = f"{verb} how to make a {'please ' * 6 if i == 0 else ''}{verb} {lang}"
                rows.append({"id": f"{label}-{i}", "lang": lang, "label": label, "prompt": text})
    path = folder / "prompts.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    return Made(save_model(folder / "model", 0), path)


def ssn(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments])


def done(*arguments: object) -> dict:
    result = ssn(*arguments, "--json")
    assert result.exit_code == 0, result.output
    assert result.stdout.count("\n") == 1
    return json.loads(result.stdout)


def refused(result: Result, *words: str) -> None:
    assert result.exit_code == 2, result.output
    assert isinstance(result.exception, SystemExit) and result.stdout == ""
    assert "Error: " in result.stderr and "Traceback" not in result.stderr
    for word in words:
        assert word in result.stderr


def identify(made: Made, out: Path, *more: object) -> dict:
    return done("identify", "--model", made.model, "--prompts", made.prompts, "--sites", "both", "--out", out, *more)


def test_identify_against_a_second_model(made, tmp_path):
    """A model does not differ from itself, and differs from one with other weights."""
    biggest = {}
    for name, other in (("same", made.model), ("other", save_model(tmp_path / "other", 1))):
        out = tmp_path / f"{name}.safetensors"
        words = ("--lang", "en", "--label", "harmful", "--method", "model_diff", "--against", other)
        assert identify(made, out, *words)["method"] == "model_diff"
        biggest[name] = max(float(values.max()) for values in store.load_scores(out).scores.values())
    assert biggest["same"] == 0 < biggest["other"]
    refused(ssn("identify", "--model", made.model, "--prompts", made.prompts, "--lang", "en", "--label", "harmful", "--method", "model_diff", "--out", tmp_path / "x.safetensors"), "--against")  # fmt: skip


def test_end_to_end(made, tmp_path):
    scores: dict[tuple[str, str], Path] = {}
    for lang in ("en", "th"):
        for label in ("harmful", "harmless"):
            path = scores[lang, label] = tmp_path / f"{lang}.{label}.safetensors"
            told = identify(made, path, "--lang", lang, "--label", label, "--method", "exact", "--device", "cpu")
            assert (told["neurons"], told["prompts"], told["truncated"]) == (2 * (32 + 16 + 16 + 32 + 40), 3, 1)
            assert (told["lang"], told["label"], told["method"]) == (lang, label, "exact")
            found = store.load_scores(path)
            assert found.model.id == "model" and len(found.model.weights) == 64
            assert all(np.asarray(v).max() > 0 for v in found.scores.values())
    th, hr = (
        ("--harmful", scores["th", "harmful"], "--harmless", scores["th", "harmless"]),
        (
            "--hr-harmful",
            scores["en", "harmful"],
            "--hr-harmless",
            scores["en", "harmless"],
        ),
    )
    sets = {what: tmp_path / f"{what}.json" for what in ("ms", "ss", "random")}
    sizes = {w: done("select", *th, *hr, "--what", w, "--p", 20, "--out", p)["neurons"] for w, p in sets.items()}
    assert sizes["ms"] >= sizes["ss"] == sizes["random"] > 0
    assert done("show", sets["ss"])["neurons"] == sizes["ss"]
    compared = done("diff", sets["ms"], sets["ss"])
    assert (compared["shared"], compared["only_second"]) == (sizes["ss"], 0)
    assert done("diff", sets["ss"], sets["random"])["jaccard"] == 0
    out = tmp_path / "adapter"
    export = ("export", sets["ss"], "--format", "peft", "--model", made.model, "--out", out)
    assert done(*export)["neurons"] == sizes["ss"]
    untrained_changes_nothing(made.model, out)
    before = (out / "adapter_model.safetensors").read_bytes()
    done(*export)  # an adapter may be written again
    assert (out / "adapter_model.safetensors").read_bytes() == before
    another = save_model(tmp_path / "another", 1)
    refused(ssn("export", sets["ss"], "--format", "peft", "--model", another, "--out", out), "another model")
    shape = save_model(tmp_path / "shape", 0, layers=1)
    refused(ssn("export", sets["ss"], "--format", "peft", "--model", shape, "--out", out), "belongs to model")
    assert (out / "adapter_model.safetensors").read_bytes() == before


def untrained_changes_nothing(model: Path, adapter: Path) -> None:
    """Stock PEFT reads it, and its logits are the base model's."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    ids = torch.tensor([[3, 4, 5]])
    base = AutoModelForCausalLM.from_pretrained(model).eval()
    with torch.no_grad():
        expected = base(ids).logits
        found = PeftModel.from_pretrained(base, str(adapter)).eval()(ids).logits
    assert torch.equal(found, expected)


def test_a_limit_is_drawn_by_the_seed_and_recorded(made, tmp_path):
    first, again, other = (tmp_path / f"{i}.safetensors" for i in range(3))
    base = ("--lang", "th", "--limit", 2, "--probes", 2)
    told = [identify(made, path, *base, "--seed", seed) for path, seed in ((first, 3), (again, 3), (other, 4))]
    assert first.read_bytes() == again.read_bytes() != other.read_bytes()
    assert [t["prompts"] for t in told] == [2, 2, 2]
    english = identify(made, tmp_path / "en.safetensors", "--lang", "en", "--limit", 2, "--seed", 3)
    assert english["prompts_sha256"] != told[0]["prompts_sha256"]


def test_mistakes_before_and_at_the_model_write_nothing(made, tmp_path):
    out = tmp_path / "s.safetensors"
    out.write_text("mine")
    base = ("identify", "--model", made.model, "--prompts", made.prompts, "--out", out)
    refused(ssn(*base, "--lang", "tx"), "Unknown language")
    refused(ssn(*base, "--lang", "sw"), "No sw/harmful prompts", "en/harmful")
    refused(ssn(*base, "--lang", "th", "--method", "skech"), "Did you mean sketch")
    refused(ssn(*base, "--lang", "th", "--sites", "mpl"), "mlp")
    refused(ssn(*base, "--lang", "th", "--device", "warp"), "'warp'")
    refused(ssn(*base[:3], "--prompts", tmp_path / "no.jsonl", "--lang", "th", "--out", out), "No prompt file")
    refused(ssn("identify", "--model", tmp_path / "no", *base[3:], "--lang", "th"), "no")
    refused(ssn(*base[:-1], tmp_path / "s.json", "--lang", "th"), "safetensors")
    empty = tmp_path / "empty.jsonl"
    empty.write_text("\n")
    refused(ssn(*base[:3], "--prompts", empty, "--lang", "th", "--out", out), "no prompt")
    assert out.read_text() == "mine" and not (tmp_path / "s.json").exists()


def test_a_broken_model_is_one_sentence(made, tmp_path):
    broken = save_model(tmp_path / "broken", 0)
    weights = broken / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    base = ("--prompts", made.prompts, "--lang", "th", "--out", tmp_path / "s.safetensors")
    refused(ssn("identify", "--model", broken, *base), "cannot be read as a model")
    (broken / "config.json").write_text('{"model_type": "no_such_type"}')
    refused(ssn("identify", "--model", broken, *base), "no_such_type")


def test_encode_uses_the_chat_template_and_cuts_from_the_left(made):
    from transformers import AutoTokenizer

    from ssn_eval.prompts.encoding import encode

    tokenizer = AutoTokenizer.from_pretrained(made.model)
    bake, cake, how = tokenizer.convert_tokens_to_ids(["bake", "cake", "how"])
    assert encode(tokenizer, ["how bake cake", "cake"], 2) == ([[bake, cake], [cake]], [2, 1], 1)
    tokenizer.chat_template = "how {{ messages[0]['content'] }}{% if add_generation_prompt %} how{% endif %}"
    assert encode(tokenizer, ["cake"], 8) == ([[how, cake, how]], [3], 0)
    with_answer = encode(tokenizer, ["cake"], 4, ["bake bake"])
    assert with_answer == ([[cake, how, bake, bake]], [2], 1)
