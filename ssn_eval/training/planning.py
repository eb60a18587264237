"""The plan of one run: its memory is estimated on the model and the pairs at hand, and a run that resumes keeps its plan."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssn_eval.core import files, processes
from ssn_eval.core.methods import Method
from ssn_eval.core.settings import TrainParams
from ssn_eval.models import memory as room
from ssn_eval.prompts.pairs import Pair
from ssn_eval.training import sharding
from ssn_eval.training.encoding import encode
from ssn_eval.training.memory import IN_BATCH, SEQUENCES, Demand, Plan, plan, share

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase

PLAN = "plan.json"
"""its file in the work folder; other free memory on another day must not change the numbers of a run"""


def planned(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    pairs: Sequence[Pair],
    settings: TrainParams,
    method: Method,
    *,
    rows: int,
    masks: dict[str, torch.Tensor] | None,
    work: Path | None,
    resumes: bool,
    say: Callable[[str], None],
) -> Plan:
    """The plan of a run, the same on every process, and said in one line before the run starts.

    Args:
        model: with the weights free that may move.
        tokenizer: its tokenizer.
        pairs: what is learned.
        settings: of the run.
        method: the loss.
        rows: rows of the data, over all processes.
        masks: of masked gradients.
        work: the folder in which the plan is kept for a run that resumes.
        resumes: whether there is a checkpoint in it.
        say: gets the line, on the first process.

    Raises:
        ParamsError: the batch cannot be shared or cut.
        MemoryNeedError: nothing fits.
    """
    batch = share(settings, processes.count())
    tokens = _longest(tokenizer, pairs, settings.max_length)
    languages = len({pair.lang for pair in pairs}) if method.loss == "mlc" else 0
    need, available = demand(model, method, masks, languages), _available(model)
    whole = method.loss in IN_BATCH
    kept = work / PLAN if work else None
    if kept and resumes and kept.is_file():
        chosen = Plan(**files.read_json(kept, "the plan of this run"))
    else:
        chosen = plan(need, settings, batch=batch, rows=rows, tokens=tokens, available=available, whole=whole)
    chosen = processes.from_first(chosen)
    if processes.is_main():
        if kept:
            files.write_json(kept, chosen.to_json())
        say(chosen.sentence(processes.count(), tokens, available, settings))
        if whole and chosen.accumulation > 1:
            say(f"The loss {method.loss} is no mean over pairs, so train.micro_batch changes it.")
    return chosen


def demand(model: Any, method: Method, masks: dict[str, torch.Tensor] | None, prompts: int = 0) -> Demand:
    """What training a model keeps, from its own parameters; `prompts` is the number of further sequences of a row."""
    parameters = list(model.parameters())
    moving = [p for p in parameters if p.requires_grad]
    base = sum(p.numel() for name, p in model.named_parameters() if "lora_" not in name)
    return Demand(
        room.shape(model.config, base),
        model.dtype.itemsize,
        sum(p.numel() for p in moving),
        max((p.element_size() for p in moving), default=4),
        sum(float(mask.nbytes) for mask in (masks or {}).values()),
        SEQUENCES[method.loss] + prompts,
        processes.count() if sharding.is_on() else 1,
    )


def _longest(tokenizer: PreTrainedTokenizerBase, pairs: Sequence[Pair], max_length: int) -> int:
    """Tokens of the longest sequence, rejected responses included."""
    rejected = [replace(pair, response=pair.rejected) for pair in pairs if pair.rejected]
    return max(len(encode(tokenizer, pair, max_length)["input_ids"]) for pair in (*pairs, *rejected))


def _available(model: Any) -> float:
    """Free bytes for all but the weights, on the devices of the model, or on this process's own where the weights are shared.

    Processes that share one machine's memory get equal parts of it.
    """
    import os

    import torch

    from ssn_eval.models.loading import default_device

    devices = {torch.device(default_device())} if sharding.is_on() else {p.device for p in model.parameters()}
    free = float(room.free(devices))
    on_cpu = all(device.type == "cpu" for device in devices)
    if sharding.is_on() and not on_cpu:  # they are not there yet
        free -= sum(p.nbytes for p in model.parameters()) / processes.count()
    return free / int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if on_cpu else free
