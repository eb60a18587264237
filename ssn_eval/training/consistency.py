"""Multi-lingual consistency beside supervised fine-tuning (MLC, arXiv 2602.16660, and its authors' code, github.com/Yuyan-B/MLC).

For a prompt in m languages, h_l is the last hidden state at its last token, and `z_l = (W h_l + b) / ‖W h_l + b‖` with a linear extractor that is trained
beside the model and thrown away. With the singular values `σ_1 ≥ σ_2 ≥ …` of Z = (z_1 … z_m),

    L = L_sft + λ · mean over prompts of −log softmax(σ / (τ σ_1))_1,

in which the σ_1 of the denominator is a constant. The term is small when the vectors of all languages lie on one line. They may point in opposite directions
there, and it says nothing about what is answered.

λ = 0.8, τ = 0.2 and the extractor's 512 outputs are those of the authors' code and configurations, which add the term to every second
step, to DPO. Their responses are English alone (`responses: hr`); by default ours are those of all languages, as for every other method.

A row of the data is a pair, and the prompts of its translations: those of the same id and label. A pair without a translation has no such term.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssn_eval.core import processes
from ssn_eval.core.errors import EmptySetError, MismatchError, ParamsError
from ssn_eval.core.methods import Method
from ssn_eval.prompts.pairs import Pair
from ssn_eval.training import sharding
from ssn_eval.training.encoding import collate, encode, encode_prompt

if TYPE_CHECKING:
    import torch
    from transformers import Trainer

    from ssn_eval.training.job import Job

EXTRACTOR = "mlc_extractor.safetensors"
"""its file in a checkpoint"""


def learned(pairs: Sequence[Pair], method: Method, hr: str) -> list[Pair]:
    """The pairs whose responses are learned.

    Raises:
        EmptySetError: there is none.
    """
    kept = [pair for pair in pairs if method.responses == "all" or pair.lang == hr]
    if not kept:
        raise EmptySetError(f"The row learns the responses of {hr} alone, and no pair is in {hr}; do not leave it out.")
    return kept


def translations(pairs: Sequence[Pair]) -> dict[tuple[str, str], list[str]]:
    """Id and label → the prompt in every language that has it, in the order of the pairs; only where there are two or more.

    Raises:
        MismatchError: no prompt has a translation.
    """
    prompts: dict[tuple[str, str], list[str]] = {}
    for pair in pairs:
        prompts.setdefault((pair.id, pair.label), []).append(pair.prompt)
    parallel = {key: texts for key, texts in prompts.items() if len(texts) > 1}
    if not parallel:
        raise MismatchError("MLC compares a prompt's languages, but no two pairs have one id; give parallel pairs.")
    return parallel


def consistency(vectors: torch.Tensor, tau: float) -> torch.Tensor:
    """`−log softmax(σ / (τ σ_1))_1` of one prompt.

    Args:
        vectors: of its languages, (m, d); they are normalised here.
        tau: the temperature.
    """
    import torch

    values = torch.linalg.svdvals(torch.nn.functional.normalize(vectors.float(), dim=-1))
    logits = values / (values[0].detach() * tau)
    return logits.logsumexp(0) - logits[0]


def mlc(job: Job) -> Trainer:
    """A Trainer of this loss.

    Raises:
        ParamsError: several processes train.
        EmptySetError, MismatchError: as `learned` and `translations`.
    """
    import torch
    from transformers import Trainer, TrainingArguments

    if processes.count() > 1 or sharding.is_on():
        raise ParamsError(
            "The loss mlc trains an extractor beside the model, which several processes would not share; train in one process."
        )
    method, parallel = job.method, translations(job.pairs)
    rows = [_row(job, pair, parallel) for pair in learned(job.pairs, method, job.hr)]
    model: Any = job.model
    extractor = _extractor(model, method.width, int(job.arguments["seed"]))

    class ConsistentTrainer(Trainer):
        """The extractor's weights are in the optimiser and in the checkpoints, not in the model."""

        groups = 0
        """prompts with translations in this step"""

        def create_optimizer(self, *args: Any, **keywords: Any) -> Any:
            """The optimiser, with the extractor's weights."""
            is_new = self.optimizer is None
            optimizer = super().create_optimizer(*args, **keywords)
            if is_new:
                optimizer.add_param_group({"params": list(extractor.values()), "weight_decay": 0.0})
            return optimizer

        def get_batch_samples(self, *args: Any, **keywords: Any) -> Any:
            """The micro-batches of a step, and the number of their tokens; the number of prompts with translations is kept."""
            for tensor in extractor.values():
                tensor.grad = None  # the Trainer forgets the gradients of the model alone
            batches, items = super().get_batch_samples(*args, **keywords)
            self.groups = sum(len(batch["sizes"]) for batch in batches)
            return batches, items

        def compute_loss(
            self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
        ) -> Any:
            """The part of a micro-batch in the loss of its step."""
            sizes = inputs.pop("sizes").tolist()
            prompts = {name: inputs.pop(f"prompt_{name}") for name in ("input_ids", "attention_mask")}
            value: Any = super().compute_loss(model, inputs, num_items_in_batch=num_items_in_batch)
            if sizes:
                with self.accelerator.autocast():
                    states = last_states(job.model, prompts)
                vectors = torch.nn.functional.linear(states, extractor["weight"], extractor["bias"])
                terms = [consistency(part, method.tau) for part in vectors.split(sizes)]
                count = len(sizes) if num_items_in_batch is None else self.groups
                value = value + method.strength * torch.stack(terms).sum() / count
            return (value, None) if return_outputs else value

        def save_model(self, output_dir: str | None = None, *args: Any, **keywords: Any) -> None:
            """A checkpoint's weights, with the extractor."""
            from safetensors.torch import save_file

            super().save_model(output_dir, *args, **keywords)
            save_file({k: v.detach().cpu() for k, v in extractor.items()}, Path(str(output_dir)) / EXTRACTOR)

        def _load_from_checkpoint(self, resume_from_checkpoint: str, *args: Any, **keywords: Any) -> None:
            from safetensors.torch import load_file

            super()._load_from_checkpoint(resume_from_checkpoint, *args, **keywords)
            with torch.no_grad():
                for name, saved in load_file(Path(resume_from_checkpoint) / EXTRACTOR).items():
                    extractor[name].copy_(saved)

    trainer = ConsistentTrainer(
        model=job.model,
        args=TrainingArguments(**job.arguments),
        train_dataset=rows,  # type: ignore[arg-type]
        data_collator=lambda batch: _gather(batch, job.pad),
    )
    trainer.model_accepts_loss_kwargs = True  # so the Trainer counts the tokens of a step
    return trainer


def last_states(model: Any, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """The last hidden state at the last token of each row, (rows, hidden), float32, with a gradient.

    Args:
        model: plain or PEFT-wrapped.
        batch: `input_ids` and `attention_mask`, each (rows, time), padded on the right.
    """
    import torch

    from ssn_eval.models.architectures.resolving import decoder

    states = decoder(model)(**batch, use_cache=False).last_hidden_state
    last = batch["attention_mask"].sum(1) - 1
    return states[torch.arange(len(last), device=states.device), last].float()


def _extractor(model: Any, width: int, seed: int) -> dict[str, torch.Tensor]:
    """Its weight, (width, hidden), and bias, (width,), float32; Xavier's uniform distribution and zeros, as in the authors' code."""
    import torch

    hidden = int(model.config.get_text_config().hidden_size)
    weight = torch.nn.init.xavier_uniform_(torch.empty(width, hidden), generator=torch.Generator().manual_seed(seed))
    tensors = {"weight": weight, "bias": torch.zeros(width)}
    return {name: tensor.to(model.device).requires_grad_() for name, tensor in tensors.items()}


def _row(job: Job, pair: Pair, parallel: Mapping[tuple[str, str], Sequence[str]]) -> dict[str, Any]:
    prompts = parallel.get((pair.id, pair.label), ())
    return {
        **encode(job.tokenizer, pair, job.max_length),
        "prompts": [encode_prompt(job.tokenizer, prompt, job.max_length) for prompt in prompts],
    }


def _gather(rows: Sequence[Mapping[str, Any]], pad: int) -> dict[str, Any]:
    """A batch of pairs; the prompts of all languages of its rows, each (prompts, time); and how many each row with translations has."""
    import torch

    sizes = [len(row["prompts"]) for row in rows if row["prompts"]]
    ids = [prompt for row in rows for prompt in row["prompts"]]
    prompts = collate([{"input_ids": prompt, "labels": []} for prompt in ids], pad) if ids else {}
    empty = torch.zeros(0, 0, dtype=torch.long)
    return {
        **collate(rows, pad),
        "prompt_input_ids": prompts.get("input_ids", empty),
        "prompt_attention_mask": prompts.get("attention_mask", empty),
        "sizes": torch.tensor(sizes, dtype=torch.long),
    }
