"""The refusal direction: found where it was planted, ablated and added as written, in `ssn` and in `ssn_hf`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from ssn_eval.cli import main
from ssn_eval.core.errors import EmptySetError, FormatError, MismatchError, ParamsError, UnknownNameError
from ssn_eval.interventions import directions, residual
from ssn_eval.interventions.directions import Direction, parse_op
from ssn_eval.models import loading
from ssn_eval.models.architectures.resolving import decoder_layers
from ssn_eval.prompts.jsonl import write_jsonl
from ssn_eval.prompts.prompt import Prompt


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """An untrained organism, and questions of both labels."""
    from ssn_eval.organism import lexicon, questions, tokenizer
    from ssn_eval.organism.settings import OrganismSettings
    from ssn_eval.organism.training import build_model

    out = tmp_path_factory.mktemp("direction")
    words = lexicon.load()
    tok = tokenizer.build(words)
    torch.manual_seed(0)
    build_model(OrganismSettings(), tok).save_pretrained(out / "model")
    tok.save_pretrained(out / "model")
    prompts = [
        Prompt(item.id, "en", label, item.prompt)
        for label in ("harmful", "harmless")
        for item in questions.items(words, "en", label, "train")[:12]
    ]
    write_jsonl(out / "prompts.jsonl", prompts)
    return out


@pytest.fixture(scope="module")
def found(folder: Path) -> Direction:
    """As the command writes it."""
    prompts = folder / "prompts.jsonl"
    words = ["direction", "--model", folder / "model", "--harmful", prompts, "--harmless", prompts]
    shown = CliRunner().invoke(main, [str(w) for w in (*words, "--out", folder / "direction.safetensors", "--json")])
    assert shown.exit_code == 0, shown.output
    direction = directions.load(folder / "direction.safetensors")
    told = json.loads(shown.stdout)
    assert told["layer"] == direction.layer and told["harmful"] == told["harmless"] == 12
    return direction


def outputs(model: Any, ids: torch.Tensor) -> list[torch.Tensor]:
    """The residual stream behind every layer."""
    states: list[Any] = []
    handles = [
        layer.register_forward_hook(lambda _m, _i, out: states.append(out[0] if isinstance(out, tuple) else out))
        for layer in decoder_layers(model)
    ]
    with torch.no_grad():
        model(ids)
    for handle in handles:
        handle.remove()
    return states


def test_the_differences_are_means_of_the_stream_at_the_last_token(folder: Path, found: Direction):
    loaded = loading.load(loading.ModelSpec(str(folder / "model")))
    from ssn_eval.prompts.encoding import encode
    from ssn_eval.prompts.jsonl import read_jsonl

    prompts = read_jsonl(folder / "prompts.jsonl")
    means = []
    for label in ("harmful", "harmless"):
        ids = encode(loaded.tokenizer, [p.prompt for p in prompts if p.label == label], 512).ids
        last = [torch.stack([s[0, -1] for s in outputs(loaded.model, torch.tensor([i]))]) for i in ids]
        means.append(torch.stack(last).mean(0))
    np.testing.assert_allclose(found.differences, (means[0] - means[1]).numpy(), atol=1e-5)


def test_ablation_leaves_nothing_of_the_direction_and_addition_moves_one_layer(folder: Path, found: Direction):
    model = loading.load(loading.ModelSpec(str(folder / "model"))).model
    ids, unit = torch.tensor([[5, 6, 7, 8]]), torch.from_numpy(found.difference / np.linalg.norm(found.difference))
    plain = outputs(model, ids)
    with residual.direct(model, found, parse_op("direction:ablate")):
        ablated = outputs(model, ids)
    assert max(float((s @ unit).abs().max()) for s in plain) > 1e-2
    assert max(float((s @ unit).abs().max()) for s in ablated) < 1e-5
    with residual.direct(model, found, parse_op("direction:add:2")):
        moved = outputs(model, ids)
    torch.testing.assert_close(
        moved[found.layer] - plain[found.layer],
        torch.from_numpy(2 * found.difference).expand(1, 4, -1),
        atol=1e-5,
        rtol=0,
    )
    assert all(torch.equal(a, b) for a, b in zip(moved[: found.layer], plain[: found.layer], strict=True))
    assert all(torch.equal(a, b) for a, b in zip(outputs(model, ids), plain, strict=True))  # and nothing stays


def test_ssn_hf_does_the_same_and_says_so(folder: Path, found: Direction):
    from ssn_eval.harness.model import SsnHFLM

    file, ids = str(folder / "direction.safetensors"), torch.tensor([[5, 6, 7, 8]])
    plain = SsnHFLM(str(folder / "model"))
    with residual.direct(plain.model, found, parse_op("direction:ablate")), torch.no_grad():
        expected = plain.model(ids).logits
    lm = SsnHFLM(str(folder / "model"), direction=file)
    with torch.no_grad():
        torch.testing.assert_close(lm.model(ids).logits, expected)
    info = lm.get_model_info()["ssn_eval"]
    assert info["op"] == "direction:ablate" and info["direction"]["layer"] == found.layer
    other = SsnHFLM(str(folder / "model"), direction=file, op="direction:add:1")
    assert len({plain.condition(), lm.condition(), other.condition()}) == 3


def test_separation_finds_the_planted_layer():
    generator = np.random.default_rng(0)
    harmful, harmless = generator.normal(size=(2, 20, 5, 16))
    harmful[:, 2, 3] += 6
    found = residual.separation(harmful, harmless)
    assert int(np.argmax(found)) == 2 and found[2] > 3
    assert abs(found[[0, 1, 3, 4]]).max() < 2


@pytest.mark.parametrize(
    ("words", "error", "says"),
    [
        ({"op": "suppress"}, UnknownNameError, "direction:ablate"),
        ({"op": "direction:add:x"}, ParamsError, "finite number"),
        ({"neurons": "set.json"}, ParamsError, "not with direction="),
        ({"direction": "model/config.json"}, FormatError, "config.json"),
    ],
)
def test_bad_input(folder: Path, found: Direction, words, error, says, monkeypatch):
    from ssn_eval.harness import arguments

    monkeypatch.chdir(folder)
    given = {"direction": "direction.safetensors", "op": None, **words}
    with pytest.raises(error, match=says):
        arguments.direction_treatment(given.pop("direction"), given.pop("op"), given)


def test_a_direction_of_another_shape_and_too_few_prompts(folder: Path, found: Direction):
    loaded = loading.load(loading.ModelSpec(str(folder / "model")))
    narrow = Direction(found.differences[:, :-1], found.layer, found.model)
    with (
        pytest.raises(MismatchError, match="find one on this model"),
        residual.direct(loaded.model, narrow, parse_op("direction:ablate")),
    ):
        pass
    with pytest.raises(EmptySetError, match="two harmful"):
        residual.find(loaded, [], [])
