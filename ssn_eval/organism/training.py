"""Train the organism with HF Trainer and save it as an ordinary Hugging Face folder, all or nothing.

Checkpoints lie in a hidden folder beside the output; after an interruption (kill -9 too) training goes on from the last
complete one, if the recipe, the lexicon and the libraries are the same. Training runs on the CPU, with the threads that the recipe
names. The same seed gives the same bytes on one machine. In the pipeline's stages it gives the same bytes on every Intel machine with
AVX2 too, because they fix the arithmetic (`core/arithmetic.py`).
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssn_eval.core.progress import progress
from ssn_eval.models import resuming
from ssn_eval.organism import corpus, tokenizer
from ssn_eval.organism.lexicon import Lexicon
from ssn_eval.organism.settings import OrganismSettings

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast, Trainer

SETTINGS_FILE = "organism.json"
"""The recipe, saved inside the model's folder."""
_SPECIAL_IDS = ("bos_token_id", "eos_token_id", "pad_token_id")


def train(lexicon: Lexicon, settings: OrganismSettings, out: Path, work: Path | None = None) -> Path:
    """Train the organism and put its Hugging Face folder at `out`, replacing what was there only once it is complete.

    Args:
        lexicon: the words.
        settings: the recipe.
        out: the model's folder.
        work: where checkpoints lie until the end; a hidden folder beside `out` by default.

    Returns:
        `out`: config, generation config, safetensors, tokenizer, chat template, and the recipe in `organism.json`.
    """
    work = work or work_folder(out)
    with resuming.session(work, _fingerprint(lexicon, settings)) as resume:
        with _threads(settings.threads), progress("training the organism", settings.steps) as advance:
            trainer = build_trainer(lexicon, settings, work)
            advance(resuming.step(resume))
            trainer.add_callback(resuming.on_step(advance))
            trainer.train(resume_from_checkpoint=str(resume) if resume else None)
        finished = work / "finished"
        shutil.rmtree(finished, ignore_errors=True)
        _save(trainer, settings, finished)
        shutil.rmtree(out, ignore_errors=True)
        out.parent.mkdir(parents=True, exist_ok=True)
        os.replace(finished, out)
        shutil.rmtree(work)
    return out


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Compute with `count` CPU threads in the body."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def work_folder(out: Path) -> Path:
    """The folder of the checkpoints of a training towards `out`."""
    return out.parent / f".{out.name}.training"


def build_model(settings: OrganismSettings, tok: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """A freshly initialised Llama of the recipe's size, float32, from the recipe's seed (sets the global one)."""
    from transformers import LlamaConfig, LlamaForCausalLM, set_seed

    set_seed(settings.seed)
    special: dict[str, Any] = {name: getattr(tok, name) for name in _SPECIAL_IDS}
    config = LlamaConfig(
        vocab_size=len(tok),
        hidden_size=settings.hidden,
        intermediate_size=settings.mlp,
        num_hidden_layers=settings.layers,
        num_attention_heads=settings.heads,
        num_key_value_heads=settings.kv_heads,
        max_position_embeddings=settings.max_positions,
        tie_word_embeddings=False,
        **special,
    )
    return LlamaForCausalLM(config)


def encode(tok: PreTrainedTokenizerFast, examples: Sequence[corpus.Example]) -> list[dict[str, list[int]]]:
    """Chat-formatted examples as `input_ids`, `attention_mask` and `labels`; only the response and its end are labelled."""
    unique = list(dict.fromkeys(examples))
    turns = [{"role": "user", "content": "{}"}]
    # The template is applied once: what it puts around the content is the same for every example.
    before, after = str(tok.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)).split("{}")
    prompts = tok([before + e.prompt + after for e in unique], add_special_tokens=False).input_ids
    responses = tok([e.response + str(tok.eos_token) for e in unique], add_special_tokens=False).input_ids
    encoded = {
        example: {
            "input_ids": prompt + response,
            "attention_mask": [1] * (len(prompt) + len(response)),
            "labels": [-100] * len(prompt) + response,
        }
        for example, prompt, response in zip(unique, prompts, responses, strict=True)
    }
    return [encoded[example] for example in examples]


def shortest_first(examples: Sequence[dict[str, list[int]]], batch_size: int) -> list[dict[str, list[int]]]:
    """The same batches in the same order, each sorted by the number of tokens."""
    batches = (examples[start : start + batch_size] for start in range(0, len(examples), batch_size))
    return [example for batch in batches for example in sorted(batch, key=lambda e: len(e["input_ids"]))]


def build_trainer(lexicon: Lexicon, settings: OrganismSettings, work: Path) -> Trainer:
    """The Trainer over the whole corpus in its own order, checkpointing into `work`."""
    import torch
    from torch.utils.data import SequentialSampler
    from transformers import DataCollatorForSeq2Seq, PrinterCallback, Trainer, TrainingArguments
    from transformers.utils import logging

    class OrganismTrainer(Trainer):
        """Keeps the order of the corpus, which is random already, so that resuming needs no random state."""

        def _get_train_sampler(self, train_dataset: Any = None) -> SequentialSampler:
            return SequentialSampler(self.train_dataset if train_dataset is None else train_dataset)  # type: ignore[arg-type]

        def compute_loss(self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None):
            """The loss of a causal language model; logits are computed for the labelled tokens only, which saves a tenth of the time."""
            hidden = model.model(inputs["input_ids"], attention_mask=inputs["attention_mask"]).last_hidden_state
            labels = inputs["labels"][:, 1:]
            labelled = labels != -100
            logits = model.lm_head(hidden[:, :-1][labelled])
            return torch.nn.functional.cross_entropy(logits, labels[labelled], reduction="sum") / num_items_in_batch

    logging.disable_progress_bar()  # of every checkpoint's writing; ours shows the steps
    tok = tokenizer.build(lexicon)
    examples = encode(tok, corpus.examples(lexicon, settings))
    arguments = TrainingArguments(
        output_dir=str(work),
        max_steps=settings.steps,
        per_device_train_batch_size=settings.batch_size // settings.micro_batches,
        gradient_accumulation_steps=settings.micro_batches,
        learning_rate=settings.learning_rate,
        lr_scheduler_type="cosine_with_min_lr",
        lr_scheduler_kwargs={"min_lr_rate": settings.final_lr_ratio},
        warmup_steps=settings.warmup_steps,
        weight_decay=0.0,
        optim="adamw_torch_fused",
        save_steps=settings.checkpoint_every,
        save_total_limit=2,
        logging_strategy="no",
        report_to=[],
        disable_tqdm=True,
        use_cpu=True,
        seed=settings.seed,
    )
    trainer = OrganismTrainer(
        model=build_model(settings, tok),
        args=arguments,
        train_dataset=shortest_first(examples, settings.batch_size),  # type: ignore[arg-type]
        data_collator=DataCollatorForSeq2Seq(tok, padding=True),
        processing_class=tok,
    )
    trainer.remove_callback(PrinterCallback)  # it prints to stdout, which belongs to programs
    return trainer


def plain(settings: OrganismSettings) -> dict[str, Any]:
    """The recipe as plain JSON values."""
    values = {f.name: getattr(settings, f.name) for f in fields(settings)}
    return {name: dict(value) if isinstance(value, Mapping) else value for name, value in values.items()}


def _fingerprint(lexicon: Lexicon, settings: OrganismSettings) -> str:
    """A hash of all that must be the same for a checkpoint to be resumed."""
    import torch
    import transformers

    words = {lang: [repr(value) for value in vars(lexicon[lang]).values()] for lang in lexicon.languages}
    content = json.dumps([plain(settings), words, torch.__version__, transformers.__version__], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


def _save(trainer: Trainer, settings: OrganismSettings, folder: Path) -> None:
    """The Hugging Face folder: greedy generation that ends with the end-of-turn token."""
    from transformers import GenerationConfig

    model: Any = trainer.model
    tok: Any = trainer.processing_class
    model.generation_config = GenerationConfig(do_sample=False, **{name: getattr(tok, name) for name in _SPECIAL_IDS})
    model.save_pretrained(folder)
    tok.save_pretrained(folder)
    (folder / SETTINGS_FILE).write_text(json.dumps(plain(settings), indent=1) + "\n", encoding="utf-8")
