"""Training the organism for a few steps: a loadable folder, the same bytes from the same seed, and resuming."""

from __future__ import annotations

import functools
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback

from ssn_eval.models import resuming
from ssn_eval.models.generation import generate
from ssn_eval.organism import behaviour, training
from ssn_eval.organism.lexicon import Lexicon, load
from ssn_eval.organism.settings import OrganismSettings

TINY = OrganismSettings(
    steps=8, batch_size=4, layers=2, hidden=32, heads=4, kv_heads=2, mlp=48, warmup_steps=2, checkpoint_every=3
)


@pytest.fixture(scope="module")
def lexicon() -> Lexicon:
    return load()


@pytest.fixture(scope="module")
def trained(lexicon: Lexicon, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return training.train(lexicon, TINY, tmp_path_factory.mktemp("organism") / "model")


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_the_folder_is_an_ordinary_hugging_face_model(trained: Path) -> None:
    names = {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    assert names <= set(contents(trained))
    model, tok = AutoModelForCausalLM.from_pretrained(trained), AutoTokenizer.from_pretrained(trained)
    assert model.config.architectures == ["LlamaForCausalLM"]
    assert model.dtype == torch.float32
    assert model.config.max_position_embeddings >= 1024
    assert len(tok) == model.config.vocab_size
    assert tok.padding_side == "left"
    assert tok.chat_template
    assert model.generation_config.eos_token_id == tok.eos_token_id
    assert tok.decode(tok("สวัสดี 👋\n ok").input_ids) == "สวัสดี 👋\n ok"
    assert json.loads((trained / training.SETTINGS_FILE).read_text())["seed"] == TINY.seed


def test_nothing_is_left_beside_the_folder(trained: Path) -> None:
    assert [path.name for path in trained.parent.iterdir()] == [trained.name]


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(
    lexicon: Lexicon, trained: Path, tmp_path: Path
) -> None:
    again = training.train(lexicon, TINY, tmp_path / "again")
    assert contents(again) == contents(trained)
    other = training.train(lexicon, replace(TINY, seed=1), tmp_path / "again")
    assert contents(other)["model.safetensors"] != contents(trained)["model.safetensors"]


def test_the_loss_is_the_models_own(lexicon: Lexicon, tmp_path: Path) -> None:
    trainer: Any = training.build_trainer(lexicon, TINY, tmp_path)
    batch = next(iter(trainer.get_train_dataloader()))
    count = (batch["labels"] != -100).sum()
    torch.testing.assert_close(
        trainer.compute_loss(trainer.model, batch, num_items_in_batch=count), trainer.model(**batch).loss
    )


def test_micro_batches_train_what_the_whole_batch_trains(lexicon: Lexicon, trained: Path, tmp_path: Path) -> None:
    training.train(lexicon, replace(TINY, micro_batches=1), tmp_path / "whole")
    whole, parts = (AutoModelForCausalLM.from_pretrained(path) for path in (tmp_path / "whole", trained))
    for name, weight in whole.state_dict().items():
        torch.testing.assert_close(parts.state_dict()[name], weight, rtol=1e-3, atol=1e-4)


class Interrupted(Exception):
    """What the test throws instead of kill -9."""


class StopAt(TrainerCallback):
    """Breaks off after a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_end(self, args: object, state: object, control: object, **kwargs: object) -> None:
        if state.global_step == self.step:  # type: ignore[attr-defined]
            raise Interrupted


def test_an_interrupted_training_goes_on_and_ends_the_same(
    lexicon: Lexicon, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, build = tmp_path / "model", training.build_trainer

    def breaking(*args: object) -> object:
        trainer = build(*args)  # type: ignore[arg-type]
        trainer.add_callback(StopAt(7))
        return trainer

    with monkeypatch.context() as patched:
        patched.setattr(training, "build_trainer", breaking)
        with pytest.raises(Interrupted):
            training.train(lexicon, TINY, out)
    assert not out.exists()
    work = training.work_folder(out)
    assert resuming.last_complete(work) == work / "checkpoint-6"

    # A checkpoint cut off while it was written has no state file: the one before it is taken.
    shutil.copytree(work / "checkpoint-6", work / "checkpoint-7")
    (work / "checkpoint-7" / "trainer_state.json").unlink()
    starts: list[int] = []

    def watching(*args: object) -> object:
        trainer = build(*args)  # type: ignore[arg-type]
        run = trainer.training_step
        trainer.training_step = lambda *a, **k: (starts.append(trainer.state.global_step), run(*a, **k))[1]  # type: ignore[method-assign]
        return trainer

    monkeypatch.setattr(training, "build_trainer", watching)
    training.train(lexicon, TINY, out)
    assert starts == [6] * 4 + [7] * 4  # four micro-batches a step
    assert contents(out) == contents(trained)


def test_checkpoints_of_another_recipe_are_not_resumed(lexicon: Lexicon, tmp_path: Path) -> None:
    work = training.work_folder(tmp_path / "model")
    (work / "checkpoint-6").mkdir(parents=True)
    (work / "checkpoint-6" / "trainer_state.json").write_text("{}")
    (work / "fingerprint").write_text("of another recipe")
    training.train(lexicon, replace(TINY, steps=2), tmp_path / "model")
    assert not work.exists()


def test_behaviour_is_measured_through_the_chat_template(lexicon: Lexicon, trained: Path) -> None:
    model, tok = AutoModelForCausalLM.from_pretrained(trained), AutoTokenizer.from_pretrained(trained)
    found = behaviour.measure(lexicon, TINY.covered_nouns, functools.partial(generate, model, tok, max_new_tokens=2))
    assert list(found.by_lang) == list(lexicon.languages)
    assert not found.bar()["capability >= .95 everywhere"]  # eight steps teach nothing


def test_batching_and_padding_do_not_change_a_response(trained: Path) -> None:
    model, tok = AutoModelForCausalLM.from_pretrained(trained), AutoTokenizer.from_pretrained(trained)
    prompts = ["bread", "How do I make the bread?", "I want to sell the bread, what should I do?"]
    together = generate(model, tok, prompts, max_new_tokens=6)
    assert together == [generate(model, tok, [p], max_new_tokens=6)[0] for p in prompts]
