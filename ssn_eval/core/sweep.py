"""The settings of a frontier (scenarios × methods × learning rates), and the plan of its cells.

A *cell* is one training run that is measured at several steps. The learning rate is constant, so the model after 8 of 32 steps is
the same as after a run of 8 steps.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from ssn_eval.core.errors import ParamsError
from ssn_eval.core.languages import language

RANDOM = "random"
"""the method that trains random neurons, as many as SS per layer and site; it is repeated with `draws` different sets"""


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Scenario:
    """The training data of a scenario; a missing value is taken from `train`."""

    pairs: int | None = None
    replay: float | None = None
    leave_out: str | None = None
    """a language that is left out of training; then only its refusals count"""

    def __post_init__(self) -> None:
        if self.leave_out is not None:
            language(self.leave_out)
        if (self.pairs is not None and self.pairs < 1) or (self.replay is not None and not 0 <= self.replay < math.inf):
            raise ParamsError("A frontier's scenario takes pairs of at least 1 and a finite replay of at least 0.")


def _scenarios() -> dict[str, Scenario]:
    return {"replay": Scenario(), "refusals_only": Scenario(replay=0.0), "few": Scenario(pairs=4)}


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class FrontierParams:
    """The settings of `ssn frontier`."""

    scenarios: dict[str, Scenario] = Field(default_factory=_scenarios)
    methods: tuple[str, ...] = ("ssn", "ms_hr", "random", "lora", "full")
    seeds: tuple[int, ...] = (0, 1, 2)
    """seeds of the organism, the probes and the training; each has its own working copy of the pipeline"""
    draws: int = 2
    """number of random sets of the method `random`"""
    lr_factors: tuple[float, ...] = (0.3, 1.0, 3.0)
    """learning rates, as multiples of the learning rate of the method"""
    steps: tuple[int, ...] = (4, 8, 16, 32)
    """training steps after which a run is measured"""
    every: tuple[int, int, int] = (1, 4, 8)
    """strides over the harmful, harmless and capability questions: 4 uses every fourth question"""
    over_refusal: float = 0.1
    """harmless refusal rate up to which the area of the frontier is computed"""
    matched: tuple[float, ...] = (0.01, 0.05)
    """harmless refusal rates at which methods are compared"""
    capability_lost: float = 0.05
    """largest loss of capability of a point of the frontier"""
    robustness: tuple[int, ...] = ()
    """those of `steps` at which SS is found again on the trained model and suppressed, beside a matched random set; this doubles a run's time or more"""

    def __post_init__(self) -> None:
        if not self.scenarios or not self.methods or not self.lr_factors or not self.steps:
            raise ParamsError("frontier needs at least one scenario, method, factor of the learning rate and step.")
        if any(not (math.isfinite(f) and f > 0) for f in self.lr_factors):
            raise ParamsError(f"frontier.lr_factors must be finite and above 0, got {list(self.lr_factors)}.")
        if list(self.steps) != sorted(set(self.steps)) or self.steps[0] < 1:
            raise ParamsError(f"frontier.steps must be rising whole numbers from 1, got {list(self.steps)}.")
        if stray := [step for step in self.robustness if step not in self.steps]:
            raise ParamsError(
                f"frontier.robustness names step {stray[0]}, which is not among frontier.steps: {list(self.steps)}."
            )
        if not self.seeds or min(self.seeds) < 0 or len(set(self.seeds)) < len(self.seeds):
            raise ParamsError(f"frontier.seeds must be different whole numbers from 0, got {list(self.seeds)}.")
        if self.draws < 1 or min(self.every) < 1:
            raise ParamsError("frontier.draws and frontier.every must be at least 1.")
        shares = (self.over_refusal, self.capability_lost, *self.matched)
        if any(not 0 < share <= 1 for share in shares):
            raise ParamsError("frontier.over_refusal, matched and capability_lost are shares above 0, and at most 1.")


class Cell(NamedTuple):
    """One training run of the sweep."""

    seed: int
    scenario: str
    method: str
    draw: int
    """number of the random set; 0 for every other method"""
    factor: float
    """multiple of the learning rate of the method"""


def plan(settings: FrontierParams, seeds: Iterable[int]) -> list[Cell]:
    """Every cell, ordered by seed."""
    return [
        Cell(seed, scenario, method, draw, factor)
        for seed in seeds
        for scenario in settings.scenarios
        for method in settings.methods
        for draw in range(settings.draws if method == RANDOM else 1)
        for factor in settings.lr_factors
    ]


def counted(scenario: Scenario, nhr: Sequence[str]) -> tuple[str, ...]:
    """The languages whose refusals count: the NHR languages, or the language left out."""
    return (scenario.leave_out,) if scenario.leave_out else tuple(nhr)
