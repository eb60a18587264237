"""Preference losses over gaps of log-probability that TRL does not have: R-DPO and MPO.

With `π` the model in training, `π₀` the model before it, `y⁺` and `y⁻` the response to learn and the rejected one:

- R-DPO (Park et al. 2024, arXiv 2403.19159): `−log σ(β [log π/π₀ (y⁺) − log π/π₀ (y⁻)] + α (|y⁺| − |y⁻|))`, lengths in tokens.
- MPO (Zhao et al. 2025, arXiv 2505.16869; the authors' code agrees): with the reward gap
  `RG(x) = log π(y⁺)/|y⁺| − log π(y⁻)/|y⁻|`, `mean (β RG_π(x_l) − RG_π₀(x_HR))² + mean ‖h_π(x_HR) − h_π₀(x_HR)‖²/d`: every language's gap is
  drawn to HR's gap before training, and HR's last hidden states (mean over a sequence's tokens) are kept as they were.

The values of `π₀` are computed once, before training, so no second model is kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from ssn_eval.core.errors import MismatchError
from ssn_eval.prompts.pairs import Pair
from ssn_eval.training.encoding import IGNORED, collate, encode

if TYPE_CHECKING:
    import torch
    from transformers import Trainer

    from ssn_eval.training.job import Job


class Couple(NamedTuple):
    """A pair of some language, and the same pair in HR."""

    target: Pair
    source: Pair


class Said(NamedTuple):
    """A model's values for a batch of responses."""

    total: torch.Tensor
    """(batch,): log-probability of the response"""
    length: torch.Tensor
    """(batch,): its tokens"""
    hidden: torch.Tensor
    """(batch, hidden): last hidden state, mean over the tokens of prompt and response"""


def couples(pairs: Sequence[Pair], hr: str) -> list[Couple]:
    """Every pair of another language with its translation in HR; pairs that HR lacks are left out.

    Raises:
        MismatchError: there is none.
    """
    at_home = {(p.id, p.label): p for p in pairs if p.lang == hr}
    pairs_of_languages = [
        Couple(p, at_home[p.id, p.label]) for p in pairs if p.lang != hr and at_home.get((p.id, p.label)) is not None
    ]
    if not pairs_of_languages:
        raise MismatchError(
            f"MPO draws other languages to {hr}, but no pair of another language has the id of a pair in {hr}; "
            f"give parallel pairs, and do not leave {hr} out."
        )
    return pairs_of_languages


def rdpo(job: Job) -> Trainer:
    """A Trainer of R-DPO."""
    import torch

    rows = [_both(job, p) for p in job.pairs]
    before = _before(job, rows)
    for row, reply in zip(rows, before, strict=True):
        row["margin"] = float(reply.total[0] - reply.total[1])

    def loss(model: Any, batch: Mapping[str, Any]) -> torch.Tensor:
        reply = _said(model, batch["target"])
        good, bad = reply.total.chunk(2)
        longer = torch.sub(*reply.length.chunk(2))
        margin = job.method.strength * (good - bad - batch["margin"]) + job.method.alpha * longer
        return -torch.nn.functional.logsigmoid(margin).mean()

    def gather(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        return {"target": _stack(rows, job.pad), "margin": torch.tensor([row["margin"] for row in rows])}

    return _trainer(job, rows, gather, loss)


def mpo(job: Job) -> Trainer:
    """A Trainer of MPO."""
    import torch

    pairs_of_languages = couples(job.pairs, job.hr)
    sources = list(dict.fromkeys(c.source for c in pairs_of_languages))
    encoded = {p: _both(job, p) for p in sources}
    before = dict(zip(sources, _before(job, [encoded[p] for p in sources]), strict=True))
    rows = [
        {
            **_both(job, c.target),
            "source": encoded[c.source],
            "gap": _gap(before[c.source]),
            "hidden": before[c.source].hidden,
        }
        for c in pairs_of_languages
    ]
    mse = torch.nn.functional.mse_loss

    def loss(model: Any, batch: Mapping[str, Any]) -> torch.Tensor:
        gap = _gap(_said(model, batch["target"]))
        hidden_loss = mse(_said(model, batch["source"]).hidden, batch["hidden"])
        return mse(job.method.strength * gap, batch["gap"]) + hidden_loss

    def gather(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        hidden = torch.cat([torch.stack([row["hidden"][i] for row in rows]) for i in (0, 1)])
        return {
            "target": _stack(rows, job.pad),
            "source": _stack([row["source"] for row in rows], job.pad),
            "gap": torch.cat([row["gap"] for row in rows]),
            "hidden": hidden,
        }

    return _trainer(job, rows, gather, loss)


def _both(job: Job, pair: Pair) -> dict[str, Any]:
    """The response to learn and the rejected one as token ids with labels."""
    bad = replace(pair, response=str(pair.rejected))
    return {
        "good": encode(job.tokenizer, pair, job.max_length),
        "bad": encode(job.tokenizer, bad, job.max_length),
    }


def _stack(rows: Sequence[Mapping[str, Any]], pad: int) -> dict[str, Any]:
    """All responses to learn, then all rejected ones, as one batch (2 × rows, time)."""
    return collate([row[key] for key in ("good", "bad") for row in rows], pad)


def _said(model: Any, batch: Mapping[str, torch.Tensor]) -> Said:
    out = model(
        input_ids=batch["input_ids"],
        attention_mask=batch["attention_mask"],
        output_hidden_states=True,
        use_cache=False,
    )
    labels = batch["labels"][:, 1:]
    labelled = labels != IGNORED
    scores = out.logits[:, :-1].float().log_softmax(-1)
    token_scores = scores.gather(-1, labels.masked_fill(~labelled, 0).unsqueeze(-1)).squeeze(-1) * labelled
    mask = batch["attention_mask"].unsqueeze(-1).float()
    hidden = (out.hidden_states[-1].float() * mask).sum(1) / mask.sum(1)
    return Said(token_scores.sum(-1), labelled.sum(-1), hidden)


def _gap(reply: Said) -> torch.Tensor:
    """The reward gap of each prompt, (batch,)."""
    good, bad = (reply.total / reply.length.clamp(min=1)).chunk(2)
    return good - bad


def _before(job: Job, rows: Sequence[Mapping[str, Any]]) -> list[Said]:
    """The model's values before training, for both responses of each row."""
    import torch

    model: Any = job.model
    was = model.training
    model.eval()
    size = job.arguments["per_device_train_batch_size"]
    replies: list[Said] = []
    with torch.no_grad():
        for start in range(0, len(rows), size):
            part = rows[start : start + size]
            batch = {k: v.to(model.device) for k, v in _stack(part, job.pad).items()}
            reply = Said(*(t.cpu() for t in _said(model, batch)))
            replies += [Said(*(t[[i, i + len(part)]] for t in reply)) for i in range(len(part))]
    model.train(was)
    return replies


def _trainer(job: Job, rows: Iterable[Mapping[str, Any]], gather: Any, loss: Any) -> Trainer:
    from transformers import Trainer, TrainingArguments

    class GapTrainer(Trainer):
        """A Trainer of one of the losses above; each is a mean over the rows of a step, however the step is cut."""

        def get_batch_samples(self, *args: Any, **keywords: Any) -> Any:
            """The micro-batches of a step, and the number of their rows."""
            batches, _ = super().get_batch_samples(*args, **keywords)
            return batches, sum(_rows_of(batch) for batch in batches)

        def compute_loss(
            self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
        ) -> Any:
            """The part of a micro-batch in the mean loss of its step."""
            value = loss(model, inputs)
            if num_items_in_batch:
                value = value * (_rows_of(inputs) / num_items_in_batch)
            return (value, None) if return_outputs else value

    trainer = GapTrainer(
        model=job.model,
        args=TrainingArguments(**job.arguments),
        train_dataset=list(rows),  # type: ignore[arg-type]
        data_collator=gather,
    )
    trainer.model_accepts_loss_kwargs = True  # so the Trainer does not divide the loss by the number of micro-batches
    return trainer


def _rows_of(batch: Mapping[str, Any]) -> int:
    """The rows of a batch; each has two responses."""
    return len(batch["target"]["input_ids"]) // 2
