"""Split halves, the Jaccard index by chance against simulation, and ranks against scipy's."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr

from ssn_eval.core.errors import MismatchError
from ssn_eval.core.neurons import Geometry, NeuronSet
from ssn_eval.identification import stability

GEOMETRY = Geometry({"layers.0.q_proj": 40, "layers.0.mlp": 60, "layers.1.q_proj": 12})
EMPTY = NeuronSet(frozenset())


def random_set(sizes: dict[str, int], generator: np.random.Generator) -> NeuronSet:
    return NeuronSet.from_keys({k: generator.choice(GEOMETRY.widths[k], n, replace=False) for k, n in sizes.items()})


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"layers.0.q_proj": 5, "layers.0.mlp": 9}, {"layers.0.q_proj": 6, "layers.0.mlp": 4, "layers.1.q_proj": 3}),
        ({"layers.1.q_proj": 10}, {"layers.1.q_proj": 8}),
        ({"layers.0.mlp": 1}, {"layers.0.mlp": 2, "layers.1.q_proj": 1}),
    ],
)
def test_chance_is_what_random_sets_give(first, second):
    generator = np.random.default_rng(0)
    drawn = [random_set(first, generator).jaccard(random_set(second, generator)) for _ in range(4000)]
    error = np.std(drawn) / len(drawn) ** 0.5
    assert abs(stability.expected_jaccard(first, second, GEOMETRY) - np.mean(drawn)) < 4 * error


def test_chance_where_it_is_known():
    assert stability.expected_jaccard({}, {}, GEOMETRY) == 1
    assert stability.expected_jaccard({"layers.0.mlp": 5}, {"layers.1.q_proj": 5}, GEOMETRY) == 0
    assert stability.expected_jaccard({"layers.0.mlp": 60}, {"layers.0.mlp": 30}, GEOMETRY) == pytest.approx(0.5)
    # two of four against two of four: overlap 0, 1, 2 with chances 1/6, 4/6, 1/6, so 4/6 * 1/3 + 1/6 * 1
    four = Geometry({"layers.0.mlp": 4})
    assert stability.expected_jaccard({"layers.0.mlp": 2}, {"layers.0.mlp": 2}, four) == pytest.approx(7 / 18)


def test_chance_at_the_size_of_a_real_model():
    """32 layers of 14,336 neurons, 3 % each: about p / (2 - p) for equal sets."""
    keys = [f"layers.{i}.mlp" for i in range(32)]
    sizes = dict.fromkeys(keys, 430)
    found = stability.expected_jaccard(sizes, sizes, Geometry(dict.fromkeys(keys, 14336)))
    assert found == pytest.approx(0.03 / 1.97, rel=0.01)


def test_split_half_gives_sizes_index_and_chance():
    a = NeuronSet.from_keys({"layers.0.mlp": [1, 2, 3]})
    b = NeuronSet.from_keys({"layers.0.mlp": [2, 3, 4], "layers.1.q_proj": [0]})
    found = stability.split_half({"x": a, "none": EMPTY, "lost": a}, {"x": b, "none": EMPTY}, GEOMETRY)
    assert set(found) == {"x", "none"}
    assert (found["x"]["sizes"], found["x"]["jaccard"]) == ([3, 4], 0.4)
    chance = stability.expected_jaccard(a.per_key(), b.per_key(), GEOMETRY)
    assert found["x"]["chance"] == round(chance, 4) and 0 < chance < 0.4
    assert found["none"] == {"sizes": [0, 0], "jaccard": None, "chance": None}


def scores(seed: int, scale: float = 1.0):
    generator = np.random.default_rng(seed)
    return {
        key: (generator.integers(0, 20, width) + scale * 1000 * int(key[7])).astype(np.float32)
        for key, width in GEOMETRY.widths.items()
    }


def theirs(first: dict[str, np.ndarray], second: dict[str, np.ndarray], *keys: str) -> float:
    """The correlation over some sites, by scipy."""
    a, b = (np.concatenate([values[key] for key in keys]) for values in (first, second))
    return float(np.asarray(spearmanr(a, b))[0])


def test_ranks_agree_with_scipy_ties_too():
    a, b = scores(0), scores(1)
    pooled = theirs(a, b, *GEOMETRY.widths)
    within = (theirs(a, b, "layers.0.q_proj", "layers.0.mlp") + theirs(a, b, "layers.1.q_proj")) / 2
    assert stability.rank_correlation(a, b) == {
        "all": pytest.approx(pooled, abs=1e-4),
        "within_layer": pytest.approx(within, abs=1e-4),
    }
    assert pooled > within + 0.1, "layers of another scale raise the pooled correlation alone"
    assert stability.rank_correlation(a, a) == {"all": 1.0, "within_layer": 1.0}


def test_ranks_of_chosen_sites_constants_and_other_shapes():
    a, b = scores(0), scores(1)
    expected = pytest.approx(theirs(a, b, "layers.0.mlp"), abs=1e-4)
    assert stability.rank_correlation(a, b, ("mlp",)) == {"all": expected, "within_layer": expected}
    flat = {key: np.ones(width, np.float32) for key, width in GEOMETRY.widths.items()}
    assert stability.rank_correlation(flat, a) == {"all": None, "within_layer": None}
    with pytest.raises(MismatchError, match="halves"):
        stability.rank_correlation(a, {k: v for k, v in b.items() if "mlp" not in k})


def test_movement_with_p():
    small, large = NeuronSet.from_keys({"layers.0.mlp": [1]}), NeuronSet.from_keys({"layers.0.mlp": [1, 2, 3, 4]})
    rows = stability.by_p({"x": large, "none": EMPTY}, {1.0: {"x": small, "none": EMPTY}, 3.0: {"x": large}})
    assert rows == [
        {"set": "x", "p": 1.0, "size": 1, "jaccard": 0.25},
        {"set": "x", "p": 3.0, "size": 4, "jaccard": 1.0},
        {"set": "none", "p": 1.0, "size": 0, "jaccard": None},
        {"set": "none", "p": 3.0, "size": 0, "jaccard": None},
    ]


def test_sharing_counts_from_union_to_intersection():
    sets = {name: NeuronSet.from_keys({"layers.0.mlp": members}) for name, members in (("a", [1, 2]), ("b", [2, 3]))}
    assert stability.sharing(sets, {"NHR": ("a", "b"), "LR": ("b",)}) == {"NHR": {"1": 3, "2": 1}, "LR": {"1": 2}}
