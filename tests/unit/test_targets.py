"""Scores to all the sets of a run, and presets to neurons, by the laws of sets."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter

from ssn_eval.core.errors import EmptySetError, MismatchError, ParamsError, UnknownNameError
from ssn_eval.core.neurons import ATTENTION, Geometry, NeuronSet
from ssn_eval.core.presets import Preset
from ssn_eval.identification import rules, selection, targets

LAYERS = 4
GEOMETRY = Geometry({f"layers.{i}.{site}": 50 for i in range(LAYERS) for site in ("q_proj", "o_proj", "mlp")})
LANGS = ("en", "zh", "th", "bn", "sw")
LOW = ("bn", "sw")


def preset(**keys: Any) -> Preset:
    return TypeAdapter(Preset).validate_python({"from": keys.pop("source", "ss"), **keys})


def drawn(seed: int) -> NeuronSet:
    """A fifth of all neurons."""
    generator = np.random.default_rng(seed)
    return NeuronSet.from_keys({key: np.flatnonzero(generator.random(w) < 0.2) for key, w in GEOMETRY.widths.items()})


@pytest.fixture
def found() -> targets.Families:
    """Languages that share a half of their neurons, and have a half of their own."""
    common = drawn(99)
    return targets.Families("en", {lang: common | drawn(i) for i, lang in enumerate(LANGS)})


def made(found: targets.Families, **keys: Any) -> NeuronSet:
    return targets.target("mine", preset(**keys), found, LAYERS)


def test_families_follow_the_definitions_at_either_scope():
    generator = np.random.default_rng(0)

    def one() -> dict[str, np.ndarray]:
        return {key: generator.random(width, dtype=np.float32) for key, width in GEOMETRY.widths.items()}

    scores = {lang: (one(), one()) for lang in ("en", "th", "zh")}
    for scope in selection.SCOPES:
        sets = rules.paper(scores, "en", 20, scope=scope)
        assert sets.ms["th"] == selection.ms(*scores["th"], 20, scope=scope)
        assert sets.nhr == ("th", "zh") and set(sets.ss) == set(sets.private) == {"th", "zh"}
        assert sets.ss["th"] == sets.ms["th"] & sets.ms["en"]
        assert sets.ss["th"] | sets.private["th"] == sets.ms["th"] and not sets.ss["th"] & sets.private["th"]
        assert sets.named()["ss"] == sets.ss["th"] | sets.ss["zh"] and sets.named()["ms_hr"] == sets.ms["en"]
        assert sets.by_language()["private/zh"] == sets.private["zh"] and sets.by_language()["ms/en"] == sets.ms["en"]


def test_the_simplest_presets_are_the_named_sets(found):
    for name, neurons in found.named().items():
        assert targets.target(name, preset(source=name), found, LAYERS) == neurons
    assert made(found, k=1) == found.named()["ss"]


def test_more_languages_leave_fewer_neurons(found):
    by_k = [made(found, k=k) for k in range(1, 5)]
    assert all(fewer.members < more.members for more, fewer in zip(by_k, by_k[1:], strict=False))
    assert by_k[-1] == made(found, k="all") == selection.intersection(list(found.ss.values()))
    assert made(found, k=0.5) == by_k[1] and made(found, k=0.51) == by_k[2]


def test_tiers_and_languages_say_whose_sets_count(found):
    low = made(found, tier="LR")
    assert low == found.ss["bn"] | found.ss["sw"] == made(found, languages=LOW)
    assert made(found, tier="LR", k=2) == found.ss["bn"] & found.ss["sw"]
    assert made(found, tier=["LR", "MR"]) == low | found.ss["th"]
    assert made(found, source="ms", languages=["th"]) == found.ms["th"]
    assert made(found, source="private", languages=["th"]) == found.ms["th"] - found.ms["en"]


def test_several_sources_are_united(found):
    both = made(found, source=["ms_hr", "private"], tier="LR", k="all")
    assert both == found.ms["en"] | (found.private["bn"] & found.private["sw"])
    assert made(found, source=["ss", "private"]) == made(found, source="ms")
    assert made(found, source=["ms_hr", "ss"]) == found.ms["en"], "SS is a part of MS_HR"


def test_sites_and_layers_part_a_set(found):
    whole, attention, mlp = made(found), made(found, sites="attention"), made(found, sites="mlp")
    assert attention | mlp == whole and not attention & mlp
    assert set(attention.per_site()) == {"q_proj", "o_proj"} <= set(ATTENTION) and set(mlp.per_site()) == {"mlp"}
    early, late = made(found, layers=[0, 0.5]), made(found, layers=[0.5, 1])
    assert early | late == whole and set(early.per_layer()) == {0, 1} and set(late.per_layer()) == {2, 3}


def test_presets_that_find_no_neuron_say_what_was_asked(found):
    nothing = targets.Families("en", {**found.ms, "sw": NeuronSet(frozenset())})
    with pytest.raises(
        EmptySetError, match="targets.mine holds no neuron: none of ss is in the sets of 1 of sw.*larger"
    ):
        targets.target("mine", preset(languages=["sw"]), nothing, LAYERS)
    with pytest.raises(EmptySetError, match=r"layers = \[0.5, 0.6\] holds none of this model's 4 layers"):
        made(found, layers=[0.5, 0.6])
    with pytest.raises(EmptySetError, match="tier HR.*th"):
        targets.target(
            "mine", preset(tier="HR"), targets.Families("en", {"en": found.ms["en"], "th": found.ms["th"]}), 4
        )
    with pytest.raises(ParamsError, match="counts only 2"):
        made(found, tier="LR", k=3)
    with pytest.raises(UnknownNameError, match="tier"):
        made(found, tier="low")


def test_only_a_preset_that_is_asked_for_has_to_find_neurons(found):
    presets = {"ss": preset(), "good": preset(k=2), "high": preset(layers=[0.5, 0.6])}
    result = targets.make(presets, found, LAYERS)
    assert result.sets == {"good": made(found, k=2)} and set(result.absent) == {"high"}
    assert "layers" in result.absent["high"]
    for asked in ("high", "high.random_0"):
        with pytest.raises(EmptySetError, match="targets.high"):
            targets.make(presets, found, LAYERS, [asked])


def test_controls_match_their_preset_outside_it(found):
    sets = {"mine": made(found, sites="mlp", k=2), "ss": made(found)}
    controls = targets.controls(sets, GEOMETRY, ["mine", "mine.random_0", "mine.random_1", "ss.random_0", "random_0"])
    assert set(controls) == {"mine.random_0", "mine.random_1", "ss.random_0"}
    first, second = controls["mine.random_0"], controls["mine.random_1"]
    assert first.per_key() == second.per_key() == sets["mine"].per_key() and first != second
    assert not first & sets["mine"] and controls["ss.random_0"] == selection.matched_random(sets["ss"], GEOMETRY, 0)
    crowded = NeuronSet.from_keys({"layers.0.mlp": range(30)})
    with pytest.raises(MismatchError, match="20 neurons outside the set, fewer than the 30"):
        targets.controls({"mine": crowded}, GEOMETRY, ["mine.random_0"])
