"""Supervised fine-tuning that must also hold without a set of neurons (NeuronGuard, arXiv 2608.23959).

With p the model as it is and p̃ the same model with the set's activations at zero, the loss is the mean over the tokens of the responses of

    −log p(y)  +  [harmful] · (−log p̃(y)  +  β KL(p̃ ‖ p)).

The source's safety objective (its equations 3 to 6) has the three terms of a harmful prompt with weights 1, so β is 1, and its task loss is the first term
of our harmless pairs. Both passes have the weights in training, and gradients flow through both; the source does not say otherwise.

Two parts of the source are not here: its set is chosen anew every 200 steps (5 % of every layer, by a linear probe), ours is the row's; and it
projects the gradient of one objective, drawn at random, where the two conflict.

Both passes are one forward pass of a batch that holds the harmful rows twice; the hooks act on the second copies. So a layer that is
computed again in the backward pass (checkpointing) is computed as it was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ssn_eval.core.errors import ParamsError
from ssn_eval.core.neurons import NeuronSet
from ssn_eval.training import sharding
from ssn_eval.training.encoding import IGNORED, collate, encode

if TYPE_CHECKING:
    import torch
    from transformers import Trainer

    from ssn_eval.models.architectures.hooking import Handle
    from ssn_eval.training.job import Job


def sft_ablated(job: Job) -> Trainer:
    """A Trainer of this loss.

    Raises:
        ParamsError: several processes share the weights, or there is no set.
    """
    from transformers import Trainer, TrainingArguments

    if sharding.is_on():
        raise ParamsError(
            "The loss sft_ablated is not made for processes that share the weights (FSDP, DeepSpeed); leave out --config_file."
        )
    if not job.neurons:
        raise ParamsError("The loss sft_ablated suppresses a neuron set, and none was given.")
    suppression = Suppression(job.model, job.neurons)
    beta = job.method.strength

    class AblatedTrainer(Trainer):
        """The hooks are there from the forward pass to the end of the backward pass, and not while something is measured."""

        def training_step(self, *args: Any, **keywords: Any) -> torch.Tensor:
            """A step with the hooks in place."""
            with suppression:
                return super().training_step(*args, **keywords)

        def compute_loss(
            self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
        ) -> Any:
            """The part of a micro-batch in the mean loss of its step."""
            value = tokens_loss(model, inputs, suppression, beta)
            if num_items_in_batch is None:
                value = value / (inputs["labels"][:, 1:] != IGNORED).sum()
            else:  # counted over all processes, whose gradients are averaged
                shared = self.accelerator.num_processes if self.args.average_tokens_across_devices else 1
                value = value / num_items_in_batch * shared
            return (value, None) if return_outputs else value

    trainer = AblatedTrainer(
        model=job.model,
        args=TrainingArguments(**job.arguments),
        train_dataset=[  # type: ignore[arg-type]
            {**encode(job.tokenizer, pair, job.max_length), "harmful": pair.label == "harmful"} for pair in job.pairs
        ],
        data_collator=lambda rows: _gather(rows, job.pad),
    )
    trainer.model_accepts_loss_kwargs = True  # so the Trainer counts the tokens of a step
    return trainer


class Suppression:
    """Hooks that put a set's activations to zero in the last rows of a batch, while a `with` block runs."""

    def __init__(self, model: Any, neurons: NeuronSet) -> None:
        """Resolve the sites of a model, plain or PEFT-wrapped.

        Raises:
            MismatchError: a neuron lies outside the model.
        """
        import torch

        from ssn_eval.core.neurons import Geometry
        from ssn_eval.models.architectures.resolving import resolve

        sites = resolve(model)
        Geometry({key: site.width for key, site in sites.items()}).check(neurons)
        self.first = 0
        """the first row whose activations are changed"""
        self._sites = {key: sites[key] for key in neurons.by_key()}
        self._factors = {key: torch.ones(site.width) for key, site in self._sites.items()}
        for key, indices in neurons.by_key().items():
            self._factors[key][indices] = 0.0
        self._handles: list[Handle] = []

    def __enter__(self) -> None:
        self._handles = [site.hook(self._change(key)) for key, site in self._sites.items()]

    def __exit__(self, *_error: object) -> None:
        for handle in self._handles:
            handle.remove()

    def _change(self, key: str) -> Any:
        def change(activation: torch.Tensor, /) -> torch.Tensor | None:
            import torch

            if self.first >= len(activation):
                return None
            kept = self._factors[key].to(activation)
            return torch.cat([activation[: self.first], activation[self.first :] * kept])

        return change


def tokens_loss(model: Any, batch: Mapping[str, torch.Tensor], suppression: Suppression, beta: float) -> torch.Tensor:
    """The loss of a batch, summed over the tokens of its responses.

    Args:
        model: in training.
        batch: `input_ids`, `attention_mask` and `labels`, each (rows, time), and `harmful`, (rows,).
        suppression: whose hooks are in place.
        beta: weight of the KL term.
    """
    import torch

    harmful, labels = batch["harmful"], batch["labels"][:, 1:]
    rows = len(harmful)
    suppression.first = rows
    ids, mask = (torch.cat([batch[name], batch[name][harmful]]) for name in ("input_ids", "attention_mask"))
    logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits[:, :-1]
    labelled = labels != IGNORED
    plain = logits[:rows][labelled].float().log_softmax(-1)
    again = logits[rows:][labelled[harmful]].float().log_softmax(-1)
    """(tokens, vocabulary), of all responses; (tokens of harmful rows, vocabulary), with the set suppressed"""
    of_harmful = harmful[:, None].expand_as(labelled)[labelled]
    twice = plain[of_harmful]
    divergence = (again.exp() * (again - twice)).sum()
    target = labels[labelled]
    return -_chosen(plain, target) - _chosen(again, target[of_harmful]) + beta * divergence


def _chosen(scores: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """The sum of the log-probabilities of some tokens."""
    return scores.gather(-1, tokens[:, None]).sum()


def _gather(rows: Sequence[Mapping[str, Any]], pad: int) -> dict[str, Any]:
    import torch

    return {**collate(rows, pad), "harmful": torch.tensor([row["harmful"] for row in rows])}
