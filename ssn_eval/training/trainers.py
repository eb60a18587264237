"""A Trainer for each loss: Hugging Face's own for `sft`, TRL's for most preference losses, ours for the others.

Arguments that are the same for all come from `fit`; this module adds what a loss needs. TRL is an extra
(`pip install 'ssn-eval[baselines]'`) and is imported only if a loss needs it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ssn_eval.core.errors import EmptySetError, MissingInputError, ParamsError
from ssn_eval.core.methods import NEEDS_TRL, Method
from ssn_eval.models import templates
from ssn_eval.prompts.pairs import Pair
from ssn_eval.training import ablated, consistency, gaps
from ssn_eval.training.encoding import collate, encode
from ssn_eval.training.job import Job

if TYPE_CHECKING:
    from transformers import Trainer


def build(job: Job) -> Trainer:
    """The Trainer of a method's loss.

    Raises:
        EmptySetError: a preference loss without rejected responses.
        MissingInputError: TRL is needed and not installed.
        ParamsError: the loss needs more than a batch of this size.
    """
    if job.method.needs_rejected and not all(p.rejected for p in job.pairs):
        raise EmptySetError(
            f"The loss {job.method.loss} needs a rejected response in every pair; make them with `with_rejected`."
        )
    if job.method.loss in NEEDS_TRL:
        _need_trl(job.method.loss)
    return _BUILDERS[job.method.loss](job)


def rows_in(pairs: Sequence[Pair], method: Method, hr: str) -> int:
    """The rows of one epoch: KTO uses the two responses of a pair singly, MPO pairs every language with HR, MLC may learn HR alone."""
    if method.loss == "mlc":
        return len(consistency.learned(pairs, method, hr))
    return len(gaps.couples(pairs, hr)) if method.loss == "mpo" else len(pairs) * (2 if method.loss == "kto" else 1)


def _sft(job: Job) -> Trainer:
    from transformers import Trainer, TrainingArguments

    rows = [encode(job.tokenizer, pair, job.max_length) for pair in job.pairs]
    return Trainer(
        model=job.model,
        args=TrainingArguments(**job.arguments),
        train_dataset=rows,  # type: ignore[arg-type]
        data_collator=lambda batch: collate(batch, job.pad),
    )


def _dpo(job: Job) -> Trainer:
    from trl import DPOConfig, DPOTrainer  # type: ignore[import-not-found]

    config = DPOConfig(**_trl(job), beta=job.method.strength, max_length=job.max_length, precompute_ref_log_probs=True)
    return _frozen(job, lambda: DPOTrainer(job.model, args=config, **_data(job)))


def _kto(job: Job) -> Trainer:
    from trl import KTOConfig, KTOTrainer  # type: ignore[import-not-found]

    if job.arguments["per_device_train_batch_size"] < 2:
        raise ParamsError(
            "KTO estimates its KL term inside a batch; set train.batch_size, and train.micro_batch, to 2 or more."
        )
    config = KTOConfig(
        **_trl(job),
        beta=job.method.strength,
        max_length=job.max_length,
        precompute_ref_log_probs=True,
        train_sampling_strategy="sequential",
    )
    return _frozen(job, lambda: KTOTrainer(job.model, args=config, **_data(job, unpaired=True)))


def _orpo(job: Job) -> Trainer:
    from trl.experimental.orpo import ORPOConfig, ORPOTrainer  # type: ignore[import-not-found]

    config = ORPOConfig(**_trl(job), beta=job.method.strength, max_length=job.max_length)
    return _frozen(job, lambda: ORPOTrainer(job.model, args=config, **_data(job)))


def _simpo(job: Job) -> Trainer:
    from trl.experimental.cpo import CPOConfig, CPOTrainer  # type: ignore[import-not-found]

    config = CPOConfig(
        **_trl(job),
        loss_type="simpo",
        cpo_alpha=0.0,
        beta=job.method.strength,
        simpo_gamma=job.method.gamma,
        max_length=job.max_length,
    )
    return _frozen(job, lambda: CPOTrainer(job.model, args=config, **_data(job)))


def _trl(job: Job) -> dict[str, Any]:
    """The common arguments, without those that TRL's trainers set themselves."""
    return {"gradient_checkpointing": False, "bf16": False, **job.arguments}


def _data(job: Job, unpaired: bool = False) -> dict[str, Any]:
    """The pairs as TRL's data set, and the tokenizer; chat turns if the tokenizer has a template, else plain text."""
    from datasets import Dataset, disable_progress_bars

    disable_progress_bars()

    def turn(role: str, text: str) -> Any:
        return [{"role": role, "content": text}] if templates.of(job.tokenizer).use else text

    if unpaired:
        rows = [
            {"prompt": turn("user", p.prompt), "completion": turn("assistant", str(text)), "label": good}
            for p in job.pairs
            for text, good in ((p.response, True), (p.rejected, False))
        ]
    else:
        rows = [
            {
                "prompt": turn("user", p.prompt),
                "chosen": turn("assistant", p.response),
                "rejected": turn("assistant", str(p.rejected)),
            }
            for p in job.pairs
        ]
    # KTO takes the rows in their order, which is by language
    data = Dataset.from_list(rows).shuffle(seed=job.arguments["seed"]) if unpaired else Dataset.from_list(rows)
    return {"train_dataset": data, "processing_class": job.tokenizer}


def _frozen(job: Job, make: Callable[[], Trainer]) -> Trainer:
    """Make a TRL trainer, in which exactly the same weights can be trained as before.

    For its reference pass TRL copies the adapter as `ref` and switches between the two. PEFT then makes every matrix of the adapter
    trainable, also the fixed one-hot matrices of a neuron-LoRA. The log-probabilities of the reference are computed once, before
    training, so the copy can be removed.
    """
    model: Any = job.model
    before = {name: p.requires_grad for name, p in model.named_parameters()}
    with _no_bars_of_theirs():
        trainer = make()
    if "ref" in getattr(model, "peft_config", {}):
        model.delete_adapter("ref")
        model.set_adapter("default")
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(before[name])
    return trainer


@contextmanager
def _no_bars_of_theirs() -> Iterator[None]:
    """Hide TRL's progress bar of its reference pass; our bar shows the steps."""
    before = os.environ.get("TQDM_DISABLE")
    os.environ["TQDM_DISABLE"] = "1"
    try:
        yield
    finally:
        os.environ.pop("TQDM_DISABLE")
        if before is not None:
            os.environ["TQDM_DISABLE"] = before


def _need_trl(loss: str) -> None:
    import importlib.util

    if importlib.util.find_spec("trl") is None:
        raise MissingInputError(
            f"The loss {loss} needs TRL, which is not installed; pip install 'ssn-eval[baselines]'."
        )


_BUILDERS: Mapping[str, Callable[[Job], Any]] = {
    "sft": _sft,
    "dpo": _dpo,
    "kto": _kto,
    "orpo": _orpo,
    "simpo": _simpo,
    "rdpo": gaps.rdpo,
    "mpo": gaps.mpo,
    "sft_ablated": ablated.sft_ablated,
    "mlc": consistency.mlc,
}
