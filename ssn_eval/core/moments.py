"""What single prompts say about every neuron, summed: enough for a mean, a variance and a test, without keeping any prompt.

The value of a neuron for one prompt is its relative log score: the logarithm of its importance, minus the mean logarithm of its layer
and site for that prompt. It says how much the neuron matters beside its neighbours, so a prompt that moves every neuron more counts
no more than another. Signed scores (`attribution`, `activation`) have no logarithm: the value is the score itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

Scores = Mapping[str, np.ndarray]
"""site key → importance of every neuron there, `(width,)`, float32, ≥ 0."""

FLOOR = 1e-6
"""an importance below this share of its layer and site's mean counts as this share, so that 0 has a logarithm"""

_LOG_SUMS, _LOG_SQUARES, _HALVES, _PROMPTS = "log_sum/", "log_square/", "half/", "prompts"


def relative_logs(importance: np.ndarray) -> np.ndarray:
    """The relative log scores of one layer and site.

    Args:
        importance: of every neuron for every prompt, `(prompts, width)`, ≥ 0.

    Returns:
        `(prompts, width)`, float32; each row has the mean 0, and is 0 where the whole row of `importance` is 0.
    """
    floor = np.maximum(importance.mean(1, keepdims=True) * FLOOR, np.finfo(np.float32).tiny)
    logs = np.maximum(importance, floor).astype(np.float32, copy=False)
    np.log(logs, out=logs)
    logs -= logs.mean(1, keepdims=True)
    return logs


def raw(scores: np.ndarray) -> np.ndarray:
    """Signed scores as they are, `(prompts, width)`, float32, as a new array."""
    return np.array(scores, dtype=np.float32)


@dataclass(frozen=True)
class Moments:
    """The number of prompts, and of each neuron the sum and the sum of squares of its values."""

    count: int
    sums: Scores
    """site key → `(width,)`"""
    squares: Scores

    def mean(self, key: str) -> np.ndarray:
        """The mean value of a site, `(width,)`, float64."""
        return self.sums[key].astype(np.float64) / self.count

    def variance(self, key: str) -> np.ndarray:
        """Its unbiased variance over prompts, `(width,)`, float64; there must be two prompts or more."""
        spread = self.squares[key].astype(np.float64) - self.count * self.mean(key) ** 2
        return np.maximum(spread, 0) / (self.count - 1)


@dataclass(frozen=True)
class Statistics:
    """The statistics of one score file, for each half of its prompts; every array is `(2, …)`."""

    prompts: np.ndarray
    """the number of prompts in each half, `(2,)`, int64, ≥ 1"""
    halves: Scores
    """site key → importance from each half, `(2, width)`, float32"""
    log_sums: Scores
    """site key → sum of the values of prompts, `(2, width)`, float32"""
    log_squares: Scores
    """site key → sum of their squares, `(2, width)`, float32"""

    def half(self, number: int) -> dict[str, np.ndarray]:
        """The importance from one half of the prompts."""
        return {key: values[number] for key, values in self.halves.items()}

    def moments(self, half: int | None = None) -> Moments:
        """The moments over all prompts, or over one half."""
        which = [0, 1] if half is None else [half]
        sums, squares = (
            {key: values[which].sum(0, dtype=np.float64) for key, values in part.items()}
            for part in (self.log_sums, self.log_squares)
        )
        return Moments(int(self.prompts[which].sum()), sums, squares)

    def tensors(self) -> dict[str, np.ndarray]:
        """The arrays under the names that they have in a score file."""
        named = {
            prefix + key: np.ascontiguousarray(values, dtype=np.float32)
            for prefix, part in ((_HALVES, self.halves), (_LOG_SUMS, self.log_sums), (_LOG_SQUARES, self.log_squares))
            for key, values in part.items()
        }
        return {**named, _PROMPTS: np.asarray(self.prompts, dtype=np.int64)}

    @classmethod
    def take(cls, tensors: dict[str, np.ndarray]) -> Statistics | None:
        """Take the statistics' arrays out of the tensors of a score file; None if it has none.

        Raises:
            ValueError: an array is missing, or has another type or shape; the message names it.
        """
        if _PROMPTS not in tensors:
            return None
        prompts = tensors.pop(_PROMPTS)
        if prompts.dtype != np.int64 or prompts.shape != (2,) or prompts.min() < 1:
            raise ValueError(f"{_PROMPTS} must be two int64 counts from 1")
        parts: dict[str, dict[str, np.ndarray]] = {_HALVES: {}, _LOG_SUMS: {}, _LOG_SQUARES: {}}
        for name in list(tensors):
            prefix = f"{name.partition('/')[0]}/"
            if prefix in parts:
                parts[prefix][name.removeprefix(prefix)] = tensors.pop(name)
        for prefix, part in parts.items():
            if part.keys() != tensors.keys():
                raise ValueError(f"the {prefix[:-1]} statistics cover other sites than the scores")
            for key, values in part.items():
                if values.dtype != np.float32 or values.shape != (2, *tensors[key].shape):
                    raise ValueError(f"{prefix}{key} is {values.dtype} {values.shape}, expected float32 (2, width)")
                if not np.isfinite(values).all():
                    raise ValueError(f"{prefix}{key} holds NaN or infinite values")
        return cls(prompts, parts[_HALVES], parts[_LOG_SUMS], parts[_LOG_SQUARES])
