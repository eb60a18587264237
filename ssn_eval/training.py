"""Safety training by HF Trainer: pairs in, an adapter (or a full checkpoint, or nothing) out. Loss on response tokens only.

Paper: `θ ← θ − η (M ⊙ ∇L)` on parallel safety data, AdamW without weight decay. Which weights can move is decided before
`fit` is called, by `adapters.build` or by leaving all of them free; `fit` itself knows nothing of neurons.
"""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssn_eval import checkpoints, files
from ssn_eval.errors import EmptySetError, FormatError, MissingInputError
from ssn_eval.languages import language
from ssn_eval.params import TrainParams
from ssn_eval.progress import progress
from ssn_eval.prompts import Prompt, render

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

IGNORED = -100


@dataclass(frozen=True)
class Pair:
    """One training example: a prompt and the response to learn."""

    id: str
    lang: str
    label: str
    prompt: str
    response: str


def safety_pairs(prompts: Sequence[Prompt]) -> list[Pair]:
    """A refusal in the prompt's own language for every harmful prompt; parallel where the prompts are."""
    return [Pair(p.id, p.lang, p.label, p.prompt, language(p.lang).refusal) for p in prompts if p.label == "harmful"]


def read_pairs(path: Path) -> list[Pair]:
    """Read pairs from JSONL `{"id", "lang", "label", "prompt", "response"}`.

    Raises:
        MissingInputError, FormatError: not there, or a line is no pair.
    """
    if not path.is_file():
        raise MissingInputError(f"No training pairs at {path}; run `dvc repro prompts` first.")
    found = []
    for n, line in enumerate(files.read_text(path, "training pairs").split("\n"), 1):
        if line.strip():
            row = files.parse_json(line, f"{path} line {n}", "a pair of prompt and response")
            names = [field.name for field in fields(Pair)]
            if not isinstance(row, dict) or set(row) != set(names) or not all(isinstance(v, str) for v in row.values()):
                raise FormatError(f"{path} line {n} is not a pair; expected an object of the texts {', '.join(names)}.")
            found.append(Pair(**row))
    return found


def mix(pairs: Sequence[Pair], settings: TrainParams) -> list[Pair]:
    """Choose `pairs` safety pairs per language, the same prompts in every language, and `replay` benign ones for each.

    Raises:
        EmptySetError: there is no safety pair.
    """
    harmful = [p for p in pairs if p.label == "harmful"]
    if not harmful:
        raise EmptySetError("The training pairs hold no refusal of a harmful prompt; nothing to train on.")
    ids = sorted({p.id for p in harmful})
    chosen = set(random.Random(settings.seed).sample(ids, min(settings.pairs, len(ids))))  # noqa: S311
    mixed: list[Pair] = []
    for lang in dict.fromkeys(p.lang for p in harmful):
        safety = [p for p in harmful if p.lang == lang and p.id in chosen]
        benign = [p for p in pairs if p.lang == lang and p.label == "harmless"]
        count = min(round(settings.replay * len(safety)), len(benign))
        mixed += safety + random.Random(f"{settings.seed} {lang}").sample(benign, count)  # noqa: S311
    return mixed


def encode(tokenizer: PreTrainedTokenizerBase, pair: Pair, max_length: int) -> dict[str, list[int]]:
    """Token ids and labels of one pair, the prompt's labels ignored; too long prompts lose their beginning."""
    prefix = render(tokenizer, pair.prompt)
    turns = [{"role": "user", "content": pair.prompt}, {"role": "assistant", "content": pair.response}]
    templated = getattr(tokenizer, "chat_template", None)
    whole = str(tokenizer.apply_chat_template(turns, tokenize=False)) if templated else ""
    answer = whole[len(prefix) :] if whole.startswith(prefix) else pair.response + str(tokenizer.eos_token)
    head = tokenizer(prefix, add_special_tokens=not templated)["input_ids"]
    tail = tokenizer(answer, add_special_tokens=False)["input_ids"][:max_length]
    head = head[max(0, len(head) + len(tail) - max_length) :]
    return {"input_ids": head + tail, "labels": [IGNORED] * len(head) + tail}


def collate(rows: Sequence[Mapping[str, list[int]]], pad: int) -> dict[str, Any]:
    """Pad a batch on the right: `input_ids`, `attention_mask`, `labels`, each (batch, time)."""
    import torch

    width = max(len(row["input_ids"]) for row in rows)

    def padded(key: str, value: int) -> Any:  # noqa: ANN401
        return torch.tensor([list(row[key]) + [value] * (width - len(row[key])) for row in rows])

    ids = padded("input_ids", pad)
    lengths = torch.tensor([len(row["input_ids"]) for row in rows])
    mask = (torch.arange(width) < lengths[:, None]).long()
    return {"input_ids": ids, "attention_mask": mask, "labels": padded("labels", IGNORED)}


def fit(
    model: PreTrainedModel | PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    pairs: Sequence[Pair],
    settings: TrainParams,
    *,
    lr: float,
    work: Path,
) -> list[dict[str, float]]:
    """Train in place and return the loss curve, `[{"step", "loss"}]`.

    Checkpoints lie in `work` until the end, so that a killed run resumes; a checkpoint of other settings is thrown away.

    Raises:
        EmptySetError: no pair.
        FormatError: the loss became NaN or infinite.
    """
    import math

    from transformers import PrinterCallback, Trainer, TrainingArguments

    if not pairs:
        raise EmptySetError("No training pair; nothing to train on.")
    rows = [encode(tokenizer, pair, settings.max_length) for pair in pairs]
    steps = settings.steps or math.ceil(settings.epochs * len(rows) / settings.batch_size)
    run = {"settings": asdict(settings), "lr": lr, "pairs": [asdict(p) for p in pairs]}
    mark = json.dumps(run, sort_keys=True, ensure_ascii=False)
    arguments = TrainingArguments(
        output_dir=str(work),
        max_steps=steps,
        per_device_train_batch_size=settings.batch_size,
        learning_rate=lr,
        warmup_steps=math.ceil(settings.warmup_ratio * steps),
        weight_decay=settings.weight_decay,
        seed=settings.seed,
        logging_steps=1,
        save_steps=max(1, steps // 4),
        save_total_limit=1,
        remove_unused_columns=False,
        report_to=[],
        disable_tqdm=True,
        dataloader_pin_memory=False,
    )
    pad: Any = tokenizer.pad_token_id or 0
    with checkpoints.session(work, mark) as resume, progress("training", steps) as advance:
        advance(checkpoints.step(resume))
        trainer = Trainer(
            model=model,
            args=arguments,
            train_dataset=rows,  # type: ignore[arg-type]
            data_collator=lambda batch: collate(batch, pad),
            callbacks=[checkpoints.on_step(advance)],
        )
        trainer.remove_callback(PrinterCallback)  # it prints to stdout, which belongs to programs
        trainer.train(resume_from_checkpoint=str(resume) if resume else None)
    curve = [{"step": e["step"], "loss": e["loss"]} for e in trainer.state.log_history if "loss" in e]
    if not all(math.isfinite(e["loss"]) for e in curve):
        raise FormatError("The training loss became NaN or infinite; lower the learning rate (train.lr).")
    shutil.rmtree(work, ignore_errors=True)
    model.eval()
    return curve
