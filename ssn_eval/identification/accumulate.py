"""From importance per prompt to importance per prompt set: sums over batches, kept on disk, shared between processes.

A scorer's values for a batch are added to one of two sums, by the half of each prompt. The mean of both sums is the score; the
two halves tell how stable the ranking is. Beside them go the sums and the sums of squares of the values of
prompts (`core/moments.py`), from which the error of every neuron follows. The sums are saved after every batch, in a fixed order, so that a run that was killed and
resumed ends with the same bytes as a run that was not. Under `accelerate launch` every process takes its share of the
batches, and the sums are added up.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ssn_eval.core import files
from ssn_eval.core.errors import FormatError
from ssn_eval.core.moments import Statistics, relative_logs
from ssn_eval.core.neurons import parse_key
from ssn_eval.core.processes import Share
from ssn_eval.core.store import Scores
from ssn_eval.models.batches import Batch, Padded, cut

PerPrompt = Mapping[str, np.ndarray]
"""site key → importance of every neuron for every prompt of a batch, `(batch, width)`"""

OfPrompt = Callable[[np.ndarray], np.ndarray]
"""importance of a site, `(batch, width)` → the values whose moments are kept, of the same shape"""


@dataclass
class Sums:
    """Importance and the values of prompts (`core/moments.py`) summed over prompts, separately for the two halves of the prompt set."""

    totals: dict[str, np.ndarray]
    """site key → importance, `(2, width)`, float64"""
    logs: dict[str, np.ndarray]
    """site key → the values of prompts and their squares, `(2 halves, 2, width)`, float64"""
    counts: np.ndarray
    """prompts in each half, `(2,)`"""
    batches: int = 0
    """batches that are in the sums"""

    @classmethod
    def empty(cls, widths: Mapping[str, int]) -> Sums:
        """Nothing summed yet."""
        totals = {key: np.zeros((2, width)) for key, width in widths.items()}
        return cls(totals, {key: np.zeros((2, 2, width)) for key, width in widths.items()}, np.zeros(2))

    def add(self, rows: Sequence[int], per_prompt: PerPrompt, of_prompt: OfPrompt = relative_logs) -> None:
        """Add a batch; prompt `i` belongs to half `i % 2`. `of_prompt` makes the values whose moments are kept.

        Raises:
            FormatError: a value is NaN or infinite; names the layer and site.
        """
        halves = np.asarray(rows) % 2
        for key, values in per_prompt.items():
            if not np.isfinite(values).all():
                layer, site = parse_key(key)
                raise FormatError(
                    f"The importance of {site} in layer {layer} is NaN or infinite; score in float32 (dtype=float32)."
                )
            logs = of_prompt(values)
            for half in (0, 1):
                chosen = halves == half
                self.totals[key][half] += values[chosen].sum(0, dtype=np.float64)
                of_half = logs[chosen]
                self.logs[key][half, 0] += of_half.sum(0, dtype=np.float64)
                self.logs[key][half, 1] += np.square(of_half, out=of_half).sum(0, dtype=np.float64)
        self.counts += np.bincount(halves, minlength=2)
        self.batches += 1

    def together(self, share: Share) -> Sums:
        """The sums of all processes."""
        if share.world == 1:
            return self
        totals, logs = ({key: share.add(values) for key, values in sums.items()} for sums in (self.totals, self.logs))
        return Sums(totals, logs, share.add(self.counts), self.batches)

    def mean(self, half: int | None = None) -> Scores:
        """The importance over all prompts or over one half, float32."""
        which = [0, 1] if half is None else [half]
        count = self.counts[which].sum()
        return {key: (total[which].sum(0) / count).astype(np.float32) for key, total in self.totals.items()}

    def statistics(self) -> Statistics | None:
        """The statistics of the two halves; None if a half has no prompt."""
        if self.counts.min() == 0:
            return None
        sums, squares = ({key: logs[:, i].astype(np.float32) for key, logs in self.logs.items()} for i in (0, 1))
        first, second = self.mean(0), self.mean(1)
        halves = {key: np.stack([first[key], second[key]]) for key in first}
        return Statistics(self.counts.astype(np.int64), halves, sums, squares)


class Progress:
    """The sums of an unfinished run on disk: one file for each process; a file of another run is ignored."""

    def __init__(self, folder: Path | None, run: Mapping[str, Any], share: Share) -> None:
        """Keep the sums in `folder`, or nowhere if it is None; `run` holds everything that decides the sums."""
        self.run = json.dumps({**run, "rank": share.rank, "world": share.world}, sort_keys=True)
        self.path = folder / f"{share.rank}-of-{share.world}.safetensors" if folder else None

    def load(self, widths: Mapping[str, int]) -> Sums:
        """The sums of an earlier, killed run of the same kind; empty sums if there is none or it is damaged."""
        from safetensors import SafetensorError, safe_open

        if self.path is None or not self.path.is_file():
            return Sums.empty(widths)
        try:
            with safe_open(self.path, framework="numpy") as handle:
                header = json.loads((handle.metadata() or {})["ssn"])
                totals = {key: handle.get_tensor(key) for key in widths}
                logs = {key: handle.get_tensor(f"logs/{key}") for key in widths}
                counts = handle.get_tensor("counts")
        except (SafetensorError, KeyError, ValueError, OSError):
            return Sums.empty(widths)
        if header["run"] != self.run:
            return Sums.empty(widths)
        return Sums(totals, logs, counts, int(header["batches"]))

    def save(self, sums: Sums) -> None:
        """Write the sums, whole or not at all."""
        from safetensors.numpy import save

        if self.path is not None:
            header = {"ssn": json.dumps({"run": self.run, "batches": sums.batches})}
            with files.atomic(self.path) as temporary:
                logs = {f"logs/{key}": values for key, values in sums.logs.items()}
                temporary.write_bytes(save({**sums.totals, **logs, "counts": sums.counts}, header))


def rounds(lengths: Sequence[int], batch_size: int, world: int, seed: int | None) -> Iterator[list[list[int]]]:
    """The batches of all prompts, round by round; a run that may stop early looks at its sums after every round.

    Args:
        lengths: tokens of every prompt.
        batch_size: prompts in a batch.
        world: processes; a round has two batches for each.
        seed: of a random order, so that every beginning is a fair sample; None: one round of all prompts, longest first.
    """
    if seed is None:
        yield cut(range(len(lengths)), lengths, batch_size)
        return
    order = np.random.default_rng(seed).permutation(len(lengths)).tolist()
    size = 2 * batch_size * world
    for start in range(0, len(order), size):
        yield cut(order[start : start + size], lengths, batch_size)


def accumulate(
    scorer: Callable[[Batch], PerPrompt],
    prompts: Padded,
    widths: Mapping[str, int],
    *,
    batch_size: int,
    share: Share,
    progress: Progress,
    enough: Callable[[Sums], bool] | None = None,
    seed: int = 0,
    skipped: Callable[[int], None] = lambda _: None,
    of_prompt: OfPrompt = relative_logs,
) -> Sums:
    """Score prompts until `enough` says so, or all of them, and return the sums of all processes.

    Args:
        scorer: batch → importance per prompt.
        prompts: the prompts as padded batches.
        widths: site key → width, of everything that is scored.
        batch_size: prompts in a batch; the result does not depend on it beyond rounding.
        share: this process among several.
        progress: where the sums are kept.
        enough: asked after every round.
        seed: of the order of the prompts, where `enough` is given.
        skipped: told of every batch that an earlier run has done.
        of_prompt: as in `Sums.add`.
    """
    sums, start = progress.load(widths), 0
    for batches in rounds(prompts.lengths, batch_size, share.world, None if enough is None else seed):
        for rows in batches[share.rank :: share.world]:
            start += 1
            if start > sums.batches:
                sums.add(rows, scorer(prompts(rows)), of_prompt)
                progress.save(sums)
            else:
                skipped(len(rows))
        if enough is None or start < sums.batches:
            continue  # a resumed run passed this round without stopping
        if enough(whole := sums.together(share)):
            return whole
    return sums.together(share)
