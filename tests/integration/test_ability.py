"""The distance from the base model: zero for the base, right for distributions that are known, larger for a larger change."""

from __future__ import annotations

import math
from pathlib import Path

import models_on_disk
import pytest
import torch

from ssn_eval.core.neurons import NeuronSet
from ssn_eval.harness import ability
from ssn_eval.interventions.hooks import intervene
from ssn_eval.interventions.ops import parse_op
from ssn_eval.models.loading import Loaded, ModelSpec, load
from ssn_eval.prompts.prompt import Prompt

PROMPTS = [
    Prompt(id=str(i), lang=lang, label="harmless", prompt=text)
    for lang, texts in {"en": ("how is the bread", "where is the old sea"), "th": ("who made it",)}.items()
    for i, text in enumerate(texts)
]
CHOSEN = NeuronSet.of([(layer, "mlp", i) for layer in range(2) for i in range(12)])


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    folder: Path = tmp_path_factory.mktemp("ability")
    models_on_disk.llama(folder)
    return load(ModelSpec(str(folder), dtype="float32"))


@pytest.fixture(scope="module")
def base(loaded: Loaded) -> ability.Reference:
    return ability.reference(loaded.model, loaded.tokenizer, PROMPTS, max_new_tokens=5, batch_size=2)


def test_the_divergence_of_known_distributions() -> None:
    p, q = torch.tensor([0.5, 0.3, 0.2]), torch.tensor([0.2, 0.3, 0.5])
    whole = float((p * (p / q).log()).sum())
    assert float(ability.divergence(p[:2].log(), q[:2].log())) == pytest.approx(whole, abs=1e-5), (
        "one token is the rest"
    )
    coarse = 0.5 * math.log(0.5 / 0.2) + 0.5 * math.log(0.5 / 0.8)
    assert float(ability.divergence(p[:1].log(), q[:1].log())) == pytest.approx(coarse, abs=1e-5)
    assert coarse < whole, "a coarser view is a lower bound"
    assert float(ability.divergence(p.log(), p.log())) == pytest.approx(0, abs=1e-6)


def test_the_base_itself_has_no_distance_and_its_own_perplexity(loaded: Loaded, base: ability.Reference) -> None:
    found = ability.measure(loaded.model, base)
    assert set(found) == {"en", "th"}
    for lang, one in found.items():
        assert one.kl == pytest.approx(0, abs=1e-6) and one.perplexity >= 1
        texts = [i for i, of in enumerate(base.langs) if of == lang]
        assert one.tokens == sum(len(base.ids[i]) - base.starts[i] for i in texts) > 0
    # One text by hand, without batches and padding.
    i = base.langs.index("th")
    with torch.no_grad():
        logits = loaded.model(torch.tensor([base.ids[i]])).logits[0].double()
    losses = torch.nn.functional.cross_entropy(logits[:-1], torch.tensor(base.ids[i][1:]), reduction="none")
    assert found["th"].perplexity == pytest.approx(math.exp(float(losses[base.starts[i] - 1 :].mean())), rel=1e-4)


def test_a_larger_change_is_farther_away(loaded: Loaded, base: ability.Reference) -> None:
    distances = []
    for op in ("scale:1.2", "scale:3", "scale:20"):
        with intervene(loaded.model, CHOSEN, parse_op(op)):
            distances.append(ability.measure(loaded.model, base)["en"].kl)
    assert 0 < distances[0] < distances[1] < distances[2]
    assert ability.measure(loaded.model, base)["en"].kl == pytest.approx(0, abs=1e-6)
