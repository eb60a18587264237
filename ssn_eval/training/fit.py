"""One run of a Trainer: pairs in, a trained model in place out; resumable, with a loss curve.

Paper: `θ ← θ − η (M ⊙ ∇L)` on parallel safety data, AdamW without weight decay. `weights.free` decides before
`fit` which weights can move; `fit` itself knows nothing of neurons.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ssn_eval.core import files, lock, processes, progress
from ssn_eval.core.errors import ArchitectureError, EmptySetError, FormatError
from ssn_eval.core.methods import Method
from ssn_eval.core.neurons import NeuronSet
from ssn_eval.core.settings import TrainParams
from ssn_eval.models import resuming
from ssn_eval.prompts.pairs import Pair
from ssn_eval.training import optimizers, planning, sharding, trainers
from ssn_eval.training.job import Job
from ssn_eval.training.memory import Plan

if TYPE_CHECKING:
    import torch
    from peft import PeftModel
    from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainerCallback

SFT = Method(weights="full")


class Fitted(NamedTuple):
    """The result of one run of a Trainer."""

    curve: list[dict[str, float]]
    """the loss curve, `[{"step", "loss"}]`"""
    plan: Plan
    weights: dict[str, torch.Tensor] | None = None
    """the whole weights by name, if several processes share them; filled on the first one. Else the model itself holds them"""


class SaveError(files.DiskFullError):
    """A checkpoint could not be written; the one before it is still there."""


def fit(
    model: PreTrainedModel | PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    pairs: Sequence[Pair],
    settings: TrainParams,
    *,
    lr: float,
    work: Path | None,
    method: Method = SFT,
    hr: str = "en",
    callbacks: Sequence[TrainerCallback] = (),
    neurons: NeuronSet | None = None,
) -> list[dict[str, float]]:
    """Train in place and return the loss curve, `[{"step", "loss"}]`; arguments and errors are those of `fitted`."""
    run = {"lr": lr, "work": work, "method": method, "hr": hr, "callbacks": callbacks, "neurons": neurons}
    return fitted(model, tokenizer, pairs, settings, **run).curve  # type: ignore[arg-type]


def fitted(
    model: PreTrainedModel | PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    pairs: Sequence[Pair],
    settings: TrainParams,
    *,
    lr: float,
    work: Path | None,
    method: Method = SFT,
    hr: str = "en",
    callbacks: Sequence[TrainerCallback] = (),
    masks: dict[str, torch.Tensor] | None = None,
    neurons: NeuronSet | None = None,
    say: Callable[[str], None] = lambda _line: None,
) -> Fitted:
    """Train in place, in steps that fit the memory.

    Args:
        model: with the weights free that may move.
        tokenizer: its tokenizer.
        pairs: what to learn; with `rejected`, where the method's loss is a preference loss.
        settings: steps or epochs, batch size, schedule, seed.
        lr: peak learning rate.
        work: a folder for checkpoints, from which a killed run resumes; a checkpoint of other settings is thrown away, and the
            caller removes the folder when it has saved the result. None keeps no checkpoint.
        method: the loss, with its constants.
        hr: the high-resource language, which MPO draws the others to, and whose responses alone MLC may learn.
        callbacks: of transformers, called at every step.
        masks: the masks of masked gradients, by the names of the parameters; needed only where processes share the weights.
        neurons: the method's set; a checkpoint of another set is thrown away, and `sft_ablated` suppresses it.
        say: gets the memory estimate in one line.

    Raises:
        EmptySetError: no pair.
        FormatError: the loss became NaN or infinite.
        SaveError: a checkpoint could not be written.
        BusyError: another run trains in the work folder.
        MemoryNeedError: not even one pair at once fits.
        MissingInputError: the optimiser is not installed.
        ParamsError: the batch cannot be shared by the processes, or cut into micro-batches; or the device has no bfloat16.
    """
    if not pairs:
        raise EmptySetError("No training pair; nothing to train on.")
    optimizers.refuse_missing(settings.optimizer)
    rows = trainers.rows_in(pairs, method, hr)
    steps = settings.steps or math.ceil(settings.epochs * rows / settings.batch_size)
    with _alone(work):
        resume = _resume(work, _fingerprint(pairs, settings, method, lr, hr, neurons))
        plan = planning.planned(
            *(model, tokenizer, pairs, settings, method),
            rows=rows,
            masks=masks,
            work=work,
            resumes=resume is not None,
            say=say,
        )
        if plan.checkpointing:
            _refuse_checkpointing(model)
        arguments = _arguments(settings, plan, steps, lr, work) | optimizers.arguments(settings, model)
        job = Job(model, tokenizer, pairs, method, settings.max_length, hr, arguments, masks, neurons)
        with progress.progress("training", steps) as advance:
            advance(resuming.step(resume))
            curve, weights = _run(job, [resuming.on_step(advance), *callbacks], resume)
    if not all(math.isfinite(e["loss"]) for e in curve):
        raise FormatError("The training loss became NaN or infinite; lower the learning rate (train.lr, --lr).")
    model.eval()
    return Fitted(curve, plan, weights)


def _run(
    job: Job, callbacks: Sequence[TrainerCallback], resume: Path | None
) -> tuple[list[dict[str, float]], dict[str, torch.Tensor] | None]:
    from safetensors import SafetensorError
    from transformers import PrinterCallback

    trainer = trainers.build(job)
    sharding.prepare(trainer, job.masks)
    for callback in callbacks:
        trainer.add_callback(callback)
    trainer.remove_callback(PrinterCallback)  # it prints to stdout, which belongs to programs
    try:
        trainer.train(resume_from_checkpoint=str(resume) if resume else None)
    except (OSError, SafetensorError, RuntimeError) as error:
        if not _is_of_disk(error):
            raise
        work = Path(job.arguments["output_dir"])
        checkpoint = resuming.last_complete(work)
        raise SaveError(
            f"A checkpoint could not be written to {work} ({_first_line(error)}); "
            + (f"the one of step {resuming.step(checkpoint)} is kept" if checkpoint else "there is none before it")
            + "; make room and run the same command again."
        ) from error
    weights = sharding.gathered(trainer)
    _as_before(trainer, job)
    return [{"step": e["step"], "loss": e["loss"]} for e in trainer.state.log_history if "loss" in e], weights


def _as_before(trainer: Any, job: Job) -> None:
    """Take checkpointing and autocast off the model, which is used further."""
    model: Any = job.model
    if job.arguments.get("gradient_checkpointing"):
        model.gradient_checkpointing_disable()
    if job.arguments.get("bf16") and not sharding.is_on():
        trainer.accelerator.unwrap_model(trainer.model_wrapped, keep_fp32_wrapper=False)


def _refuse_checkpointing(model: Any) -> None:
    """Stop if a model's class cannot compute its layers again.

    Raises:
        ArchitectureError: it cannot.
    """
    if not getattr(model, "supports_gradient_checkpointing", False):
        raise ArchitectureError(
            f"transformers cannot compute the layers of a {model.config.model_type} model again, so train.checkpointing must be off; "
            f"set a smaller train.micro_batch."
        )


def _is_of_disk(error: BaseException) -> bool:
    """Whether an error comes from writing: an OSError, or the error of safetensors or torch in its place."""
    message = str(error).lower()
    return isinstance(error, OSError) or files.is_full(error) or "file write failed" in message or "os error" in message


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).split("\n")[0]


def _fingerprint(
    pairs: Sequence[Pair], settings: TrainParams, method: Method, lr: float, hr: str, neurons: NeuronSet | None
) -> str:
    """A text of all that must be the same for a checkpoint to be resumed."""
    run = {"settings": settings.recorded(), "method": method.recorded(), "lr": lr, "hr": hr}
    run |= {"neurons": neurons.by_key()} if method.uses_set and neurons else {}
    return json.dumps({**run, "pairs": [asdict(p) for p in pairs]}, sort_keys=True, ensure_ascii=False)


def _alone(work: Path | None) -> AbstractContextManager[object]:
    """Reserve the work folder for this run; of several processes, the first one holds it for all."""
    return nullcontext() if work is None or not processes.is_main() else lock.hold(work, "training")


def _resume(work: Path | None, fingerprint: str) -> Path | None:
    """The newest checkpoint of this run; of several processes, the first one removes the files of other runs."""
    if work is None:
        return None
    with processes.state().main_process_first() if processes.count() > 1 else nullcontext():
        return resuming.prepare(work, fingerprint)


def _arguments(settings: TrainParams, plan: Plan, steps: int, lr: float, work: Path | None) -> dict[str, Any]:
    """Keywords of `TrainingArguments`."""
    saving = {"save_strategy": "no"} if work is None else {"save_steps": max(1, steps // 4), "save_total_limit": 1}
    return {
        "output_dir": str(work or "."),
        "max_steps": steps,
        "per_device_train_batch_size": plan.micro_batch,
        "gradient_accumulation_steps": plan.accumulation,
        "learning_rate": lr,
        "lr_scheduler_type": "constant_with_warmup" if settings.schedule == "constant" else settings.schedule,
        "warmup_steps": math.ceil(settings.warmup_ratio * steps),
        "weight_decay": settings.weight_decay,
        "seed": settings.seed,
        "logging_steps": 1,
        "remove_unused_columns": False,
        "report_to": [],
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
        **saving,
        **(
            {"gradient_checkpointing": True, "gradient_checkpointing_kwargs": {"use_reentrant": False}}
            if plan.checkpointing
            else {}
        ),
    }
