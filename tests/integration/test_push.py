"""Adapters, checkpoints and neuron sets pushed through the real huggingface_hub to a hub on loopback; and what is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import example_files
import fake_hub
import huggingface_hub.constants
import pytest
from click.testing import CliRunner, Result
from huggingface_hub import DatasetCard, ModelCard

from ssn_eval.cli import main
from ssn_eval.core import files

NEEDED = (example_files.MODEL, "artifacts/sets/ss.json", "ss.json", "pairs.jsonl")


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("push")
    with pytest.MonkeyPatch.context() as there:
        there.chdir(folder)
        for name in NEEDED:
            Path(name).parent.mkdir(parents=True, exist_ok=True)
            example_files.MAKERS[name](Path(name))
    return folder


@pytest.fixture
def here(made, tmp_path, monkeypatch) -> Path:
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def hub(monkeypatch):
    with fake_hub.running() as made:
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", made.url)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setenv("HF_TOKEN", fake_hub.TOKEN)
        yield made


def ssn(*words: object) -> Result:
    return CliRunner().invoke(main, [*map(str, words)])


def train(*more: str) -> Result:
    given = ("--model", example_files.MODEL, "--pairs", "pairs.jsonl", "--steps", "1", "--device", "cpu")
    return ssn("train", *given, *more)


def trained(name: str = "hardened") -> Path:
    done = train("--neurons", "ss.json", "--out", name)
    assert done.exit_code == 0, done.output
    return Path(name)


def test_training_fills_in_a_card_and_equal_runs_give_equal_cards(here):
    one, two = trained("one"), trained("two")
    card = (one / "README.md").read_text()
    front = ModelCard(card).data.to_dict()
    assert front["library_name"] == "peft" and front["language"] == ["en", "th"]
    for fact in ("| th | 2 | 2 |", files.sha256(Path("pairs.jsonl")), "`ssn`: neuron-LoRA", "| steps | 1 |"):
        assert fact in card
    assert str(here) not in card
    assert files.sha256(one) == files.sha256(two)


def test_a_checkpoint_gets_its_card_too(here):
    done = train("--method", "full", "--out", "whole")
    assert done.exit_code == 0, done.output
    assert ModelCard(Path("whole/README.md").read_text()).data.to_dict()["library_name"] == "transformers"


def is_private(repo: Mapping[str, object]) -> bool:
    """As either version of the library says it."""
    return repo.get("visibility", "private" if repo.get("private") else "public") == "private"


def test_an_adapter_is_pushed_as_a_private_model(here, hub):
    folder = trained()
    (folder / "optimizer.pt").write_bytes(b"a pickle")
    done = ssn("push", folder, "you/hardened", "--json", "--quiet")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["commit"].endswith("/you/hardened/commit/0123")
    assert is_private(hub.repos["models/you/hardened"])
    pushed = hub.files["models/you/hardened"]
    assert set(pushed) == {"README.md", "adapter_config.json", "adapter_model.safetensors", "ssn.json"}
    assert all(pushed[name] == (folder / name).read_bytes() for name in pushed)


def test_a_neuron_set_is_pushed_as_a_data_set(here, hub):
    done = ssn("push", "ss.json", "you/ss", "--public")
    assert done.exit_code == 0, done.output
    assert not is_private(hub.repos["datasets/you/ss"])
    pushed = hub.files["datasets/you/ss"]
    assert pushed["ss.json"] == Path("ss.json").read_bytes() and set(pushed) == {"ss.json", "README.md"}
    assert DatasetCard(pushed["README.md"].decode()).data.to_dict()["viewer"] is False


def test_training_pushes_what_it_made(here, hub):
    done = train("--neurons", "ss.json", "--out", "hardened", "--push-to-hub", "you/hardened")
    assert done.exit_code == 0, done.output
    assert hub.files["models/you/hardened"]["README.md"] == Path("hardened/README.md").read_bytes()
    assert "/you/hardened/commit/0123" in done.stdout


@pytest.mark.parametrize(
    ("kind", "out", "repo"),
    [("csv", "ss.csv", "datasets/you/x"), ("sntune", "ss.txt", "datasets/you/x"), ("peft", "bare", "models/you/x")],
)
def test_an_export_is_pushed(here, hub, kind, out, repo):
    done = ssn("export", "ss.json", "--format", kind, "--drop-unsupported", "--out", out, "--push-to-hub", "you/x")
    assert done.exit_code == 0, done.output
    card = hub.files[repo]["README.md"].decode()
    assert ("Untrained" in card) == (kind == "peft")
    assert out in hub.files[repo] or "adapter_model.safetensors" in hub.files[repo]


def test_a_card_written_by_hand_is_kept(here, hub):
    folder = trained()
    (folder / "README.md").write_text("---\nlicense: mit\n---\nmine")
    assert ssn("push", folder, "you/mine").exit_code == 0
    assert hub.files["models/you/mine"]["README.md"].endswith(b"mine")


def refused(done: Result, *said: str) -> None:
    """One sentence, exit code 2."""
    assert done.exit_code == 2, done.output
    lines = [line for line in done.stderr.splitlines() if line.startswith("Error")]
    assert len(lines) == 1 and all(word in lines[0] for word in said), done.stderr
    assert "Traceback" not in done.output


def test_a_model_without_its_refusals_is_not_published(here, hub):
    assert ssn("export", "ss.json", "--format", "hf", "--out", "baked").exit_code == 0
    refused(ssn("push", "baked", "you/baked"), "not", "published")
    refused(ssn("export", "ss.json", "--format", "hf", "--out", "b", "--push-to-hub", "you/b"), "not published")
    assert not hub.repos and not Path("b").exists()


def test_without_a_token_nothing_is_trained(here, hub, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    refused(train("--neurons", "ss.json", "--out", "hardened", "--push-to-hub", "you/x"), "HF_TOKEN")
    assert not Path("hardened").exists() and not hub.asked


def test_a_token_on_disk_is_not_used(here, hub, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr(huggingface_hub.constants, "HF_TOKEN_PATH", str(here / "token"))
    (here / "token").write_text(fake_hub.TOKEN)
    refused(ssn("push", "ss.json", "you/ss"), "HF_TOKEN", "environment")
    assert not hub.asked


def test_a_wrong_token_is_found_before_training(here, hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    done = train("--neurons", "ss.json", "--out", "hardened", "--push-to-hub", "you/x")
    refused(done, "token", "not pushed")
    assert "hf_wrong" not in done.output and not Path("hardened").exists()


def test_a_token_that_may_only_read(here, hub):
    hub.read_only = True
    refused(ssn("push", "ss.json", "you/ss"), "does not let", "HF_TOKEN")


def test_no_network(here, monkeypatch):
    with fake_hub.running() as gone:
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", gone.url)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_TOKEN", fake_hub.TOKEN)
    refused(ssn("push", "ss.json", "you/ss"), "cannot be reached", "Try again")


def test_switched_off(here, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_TOKEN", fake_hub.TOKEN)
    refused(ssn("push", "ss.json", "you/ss"), "HF_HUB_OFFLINE")


@pytest.mark.parametrize("repo", ["ss", "a/b/c", "you/../x", "you/ s"])
def test_a_repository_has_an_owner_and_a_name(here, hub, repo):
    refused(ssn("push", "ss.json", repo), "OWNER/NAME")


def test_what_is_nothing_of_ours(here, hub):
    Path("empty").mkdir()
    refused(ssn("push", "empty", "you/x"), "ssn.json")
    refused(ssn("push", "nowhere.json", "you/x"), "nowhere.json")
    refused(ssn("push", "pairs.jsonl", "you/x"), "pairs.jsonl")
    Path("empty/ssn.json").write_text("[]")
    refused(ssn("push", "empty", "you/x"), "damaged")
    assert not hub.repos
