"""The memory that training needs, and the batches that make it fit; pure arithmetic on sizes.

A step on `batch_size` pairs may be made in parts: the gradients of *micro-batches* are added up, so only one of them keeps its
activations. A step keeps, beside the weights: gradients and the optimiser's state of the weights that move, the activations of a
micro-batch, and its logits. `ssn doctor` and every training run use the same estimate; a test measures it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from ssn_eval.core.errors import ParamsError
from ssn_eval.core.settings import TrainParams
from ssn_eval.models.memory import MARGIN, MemoryNeedError, Shape, gib

MOMENTS = {"adamw": 2, "adafactor": 0, "adamw_8bit": 0}
"""optimiser → values of the weight's dtype that it keeps of a weight"""
STATE_BYTES = {"adamw": 0.0, "adafactor": 0.1, "adamw_8bit": 2.1}
"""optimiser → further bytes that it keeps of a weight: Adafactor a row and a column, the 8-bit one two bytes with their scales"""
SEQUENCES = {"sft": 1, "kto": 1, "dpo": 2, "orpo": 2, "simpo": 2, "rdpo": 2, "mpo": 4, "sft_ablated": 2, "mlc": 1}
"""loss → sequences with a gradient of one row of its data; `mlc` has the prompts of all languages beside them"""
IN_BATCH = ("kto", "orpo")
"""losses of TRL that are no mean over rows: KTO compares the rows of a batch, ORPO has a mean over its tokens"""


@dataclass(frozen=True)
class Demand:
    """What training keeps in memory, by its parts."""

    sizes: Shape
    itemsize: int
    """bytes of one weight"""
    moving: float
    """weights that have a gradient"""
    moving_itemsize: int = 4
    """bytes of one of them; an adapter is float32"""
    extra: float = 0.0
    """bytes of the masks of masked gradients, and of an adapter that is not made yet"""
    sequences: int = 1
    """sequences of one row"""
    shards: int = 1
    """processes that share weights, gradients and optimiser state (FSDP, DeepSpeed); 1: none does"""

    def weights(self) -> float:
        """Bytes of the weights."""
        return self.sizes.parameters * self.itemsize / self.shards

    def fixed(self, settings: TrainParams) -> float:
        """Bytes of gradients, optimiser state and what else is kept: all that does not grow with the batch."""
        values = 1 + MOMENTS[settings.optimizer]
        learning = self.moving * (values * self.moving_itemsize + STATE_BYTES[settings.optimizer])
        casts = 2 * self.sizes.parameters if settings.autocast and self.itemsize > 2 else 0
        if settings.checkpointing:
            casts /= self.sizes.layers
        return (learning + self.extra + casts) / self.shards

    def token(self, settings: TrainParams) -> float:
        """Bytes that one token of a sequence keeps for the backward pass: activations and logits."""
        sizes, itemsize = self.sizes, 2 if settings.autocast else self.itemsize
        layer = sizes.kept() * itemsize
        between = sizes.layers * sizes.hidden * itemsize
        activations = layer + between if settings.checkpointing else sizes.layers * layer
        logits = sizes.vocab * (12 if itemsize == 4 else itemsize + 12)  # themselves, in float32, and with a gradient
        return activations + logits

    def need(self, settings: TrainParams, rows: int, tokens: int) -> float:
        """Bytes of a step beside the weights.

        Args:
            settings: of the run.
            rows: pairs of one micro-batch.
            tokens: of the longest sequence.
        """
        return (self.fixed(settings) + rows * self.sequences * tokens * self.token(settings)) * MARGIN


class Plan(NamedTuple):
    """How the steps are computed."""

    micro_batch: int
    """pairs that one process computes at once"""
    accumulation: int
    """micro-batches of one process in a step"""
    checkpointing: bool
    need: float
    """bytes beside the weights, as estimated"""

    @property
    def is_plain(self) -> bool:
        """Whether a step is one pass over its batch, with all activations kept."""
        return self.accumulation == 1 and not self.checkpointing

    def sentence(self, processes: int, tokens: int, available: float, settings: TrainParams) -> str:
        """The plan in one line."""
        parts = f"{self.accumulation} × {self.micro_batch}" + (f" on each of {processes} processes" * (processes > 1))
        extras = "".join(
            f", {word}"
            for word, is_on in (("checkpointing", self.checkpointing), ("bfloat16", settings.autocast))
            if is_on
        )
        optimizer = "" if settings.optimizer == "adamw" else f", {settings.optimizer}"
        return (
            f"memory: a step of {settings.batch_size} pairs of up to {tokens} tokens is made as {parts}{extras}{optimizer}; about "
            f"{gib(self.need)} beside the weights, {gib(available)} free"
        )

    def to_json(self) -> dict[str, Any]:
        """The plan as JSON values."""
        return self._asdict()


def share(settings: TrainParams, processes: int) -> int:
    """The pairs of one process in a step.

    Raises:
        ParamsError: the batch cannot be shared equally, or not cut into the micro-batches that were asked for.
    """
    batch = settings.batch_size
    if batch % processes:
        raise ParamsError(
            f"train.batch_size is {batch}, which {processes} processes cannot share equally; use a multiple of {processes}."
        )
    if settings.micro_batch and (batch // processes) % settings.micro_batch:
        fitting = ", ".join(map(str, _divisors(batch // processes)))
        raise ParamsError(
            f"train.micro_batch is {settings.micro_batch}, but a process has {batch // processes} pairs in a step; use one of {fitting}."
        )
    return batch // processes


def plan(
    demand: Demand, settings: TrainParams, *, batch: int, rows: int, tokens: int, available: float, whole: bool = False
) -> Plan:
    """The largest micro-batch that fits; checkpointing, unless it is set, only if not even one pair fits without it.

    Args:
        demand: of the model and the method.
        settings: of the run; a micro-batch that is set is taken without a check of the memory.
        batch: pairs of one process in a step, from `share`.
        rows: all rows of the data; a batch never has more.
        tokens: of the longest sequence.
        available: free bytes, for all but the weights.
        whole: never cut the batch, because its loss depends on it.

    Raises:
        MemoryNeedError: nothing fits; the message says what helps.
    """
    sizes = [settings.micro_batch] if settings.micro_batch else [batch] if whole else _divisors(batch)[::-1]
    ways = [True] if settings.checkpointing else [False] if settings.micro_batch else [False, True]
    options = [
        Plan(size, batch // size, way, demand.need(replace(settings, checkpointing=way), min(size, rows), tokens))
        for way in ways
        for size in sizes
    ]
    fitting = next((option for option in options if option.need <= available), None)
    if fitting is None and not settings.micro_batch:
        least = options[-1]
        raise MemoryNeedError(
            f"Training on {least.micro_batch} × {tokens} tokens at once needs about {gib(least.need)} beside the weights even with "
            f"checkpointing, and {gib(available)} are free; {_advice(demand, settings, whole)}. If the estimate is wrong, set "
            f"train.micro_batch, which is not checked."
        )
    return fitting or options[0]


def _advice(demand: Demand, settings: TrainParams, whole: bool) -> str:
    tips = ["use a smaller train.batch_size"] if whole else []
    tips += [] if settings.autocast or demand.itemsize == 2 else ["set train.autocast"]
    tips += [] if settings.optimizer != "adamw" else ["use train.optimizer adafactor"]
    tips += [
        "train neurons in place of all weights, shorten train.max_length, or use several GPUs (docs/howto/many-gpus.md)"
    ]
    return ", ".join(tips)


def _divisors(number: int) -> list[int]:
    return [n for n in range(1, number + 1) if number % n == 0]
