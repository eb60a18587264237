"""Neurons or a direction? The row of the report, from results whose answer can be counted by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import results_made
from results_made import counts, rates, write

from ssn_eval.core.errors import ParamsError
from ssn_eval.core.neurons import Geometry
from ssn_eval.core.origin import ModelRef
from ssn_eval.core.presets import PRESETS, check
from ssn_eval.core.settings import ValidateParams
from ssn_eval.interventions.directions import PREFIX, Direction, random_control
from ssn_eval.report import answers, summary, tables
from ssn_eval.report.results import Results, read


@pytest.fixture
def results(tmp_path: Path) -> Results:
    """Ablation takes away more than SS does; adding it makes the model refuse half of the harmless prompts. Base: 40, 32, 20 of 40."""
    folder = results_made.make(tmp_path / "results")
    ablate, add = "direction:ablate", "direction:add:1"
    of_direction = {ablate: counts(rates(2, 0, 0), harmless=2), add: counts(rates(40, 40, 40), harmless=20, capable=20)}
    of_random = {ablate: counts(rates(40, 28, 16)), add: counts(rates(40, 36, 20))}
    for name, conditions in (("direction", of_direction), ("direction.random_0", of_random)):
        write(folder / "validate" / f"{name}.json", {"set": name, "layer": 1, "conditions": conditions})
    return read(folder)


def test_the_direction_stands_beside_the_sets_with_the_same_statistics(results: Results) -> None:
    grid = tables.tables(results)["directions"]
    rows = {(row[0], row[1]): row[2:] for row in grid.rows}
    assert [row[:2] for row in grid.rows][:3] == [
        ["SS", "suppressed"],
        ["MS of HR", "suppressed"],
        ["refusal direction", "ablated"],
    ]
    # NHR: (32 + 20) / 80 before, 0 after; its random control leaves (28 + 16) / 80
    ablated = rows["refusal direction", "ablated"]
    assert ablated[0].startswith("−95 [") and ablated[1].startswith("−65 [") and ablated[2].startswith("−55 [")
    assert ablated[3:5] == ["5", "95"]
    added = rows["refusal direction", "added × 1"]
    assert added[1].startswith("+35 [") and added[2].startswith("+30 [") and added[3:5] == ["50", "50"]
    # SS: 6 of 80 after; each of its random controls leaves (30 + 19) / 80
    assert rows["SS", "suppressed"][1].startswith("−57 [") and rows["SS", "suppressed"][2].startswith("−54 [")
    assert rows["MS of HR", "suppressed"][2] == "–", "it has no control"


def test_it_is_a_row_of_the_other_tables_and_of_the_metrics(results: Results) -> None:
    made = tables.tables(results)
    for name in ("suppression", "tiers", "harmless", "capability", "invalid"):
        labels = [row[0] for row in made[name].rows]
        assert "refusal direction, ablated" in labels and "refusal direction, added × 1" in labels, name
    assert not any("direction" in cell for row in made["amplification"].rows for cell in row), "it has no factor"
    conditions = summary.metrics(results)["conditions"]
    assert conditions["direction:ablate direction"]["nhr_refusal"] == 0
    assert conditions["direction:ablate direction.random_0"]["nhr_refusal"] == 0.55
    (answer,) = [a for a in answers.answers(results) if a.question == "Neurons or a direction?"]
    assert "by −8 points" in answer.verdict and "ablated: 0 % (−65 points" in answer.detail


def test_without_a_direction_there_is_no_table_and_no_answer(tmp_path: Path) -> None:
    results = read(results_made.make(tmp_path / "results"))
    assert not tables.tables(results)["directions"].rows
    assert not any("direction" in a.question for a in answers.answers(results))


def test_the_ops_of_a_direction_are_done_once_and_not_on_sets() -> None:
    asked = ValidateParams(sets=("ss", "random_2", "random_5"), ops=("suppress", "direction:ablate", "direction:add:2"))
    assert asked.ops_of("ss") == ("suppress",)
    assert asked.direction_ops == ("direction:ablate", "direction:add:2") and PREFIX == "direction:"
    assert asked.directions == ("direction", "direction.random_2", "direction.random_5")
    assert asked.names == (*asked.sets, *asked.directions)
    assert ValidateParams(sets=("ss",), ops=("direction:ablate",)).directions == ("direction", "direction.random_0")
    assert ValidateParams().directions == () and ValidateParams().names == ValidateParams().sets
    with pytest.raises(ParamsError, match="direction"):
        check("direction", PRESETS["ss"], ["th"])


def test_a_random_direction_is_as_long_and_points_elsewhere() -> None:
    model = ModelRef("tiny", "a" * 64, "llama", Geometry({"layers.0.mlp": 4}))
    direction = Direction(np.arange(1.0, 2001.0, dtype=np.float32).reshape(2, 1000), 1, model, {"lang": "en"})
    first, again, other = (random_control(direction, seed) for seed in (0, 0, 1))
    lengths = [np.linalg.norm(d.differences, axis=1) for d in (direction, first)]
    np.testing.assert_allclose(*lengths, rtol=1e-5)
    cosine = (
        direction.difference @ first.difference / np.prod([np.linalg.norm(d.difference) for d in (direction, first)])
    )
    assert abs(cosine) < 0.15 and first.layer == 1 and first.provenance["control_of"] == "direction"
    np.testing.assert_array_equal(first.differences, again.differences)
    assert not np.array_equal(first.differences, other.differences)
