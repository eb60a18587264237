"""Guard models with transformers: greedy decoding, in batches of similar length, padded on the left."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ssn_eval.core.errors import MissingInputError, ParamsError
from ssn_eval.judges.guards.source import Source
from ssn_eval.models import memory, residency

if TYPE_CHECKING:
    import torch

TOKENS = 32_768
"""largest number of tokens in a batch, padding included"""
logger = logging.getLogger(__name__)


class LocalModel:
    """One guard model. It is loaded at the first question and leaves the device when another model needs the memory."""

    name = "transformers"

    def __init__(self, source: Source, device: str | None = None) -> None:
        """Store source and device.

        Args:
            source: the guard model.
            device: a device name of torch; None: `SSN_JUDGE_DEVICE`, else the first GPU, else the CPU.
        """
        self._source, self._requested_device = source, device
        self._model: Any = None

    @property
    def device(self) -> torch.device:
        """The device on which the model runs.

        Raises:
            ParamsError: there is no such device.
        """
        import torch

        first = f"cuda:{os.environ.get('LOCAL_RANK', 0)}" if torch.cuda.is_available() else "cpu"
        name = self._requested_device or os.environ.get("SSN_JUDGE_DEVICE") or first
        try:
            device = torch.device(name)
        except RuntimeError as error:
            raise ParamsError(
                f"SSN_JUDGE_DEVICE={name!r} is no device; expected a name such as cpu, cuda or cuda:1."
            ) from error
        if device.type == "cuda" and not torch.cuda.is_available():
            raise ParamsError(f"SSN_JUDGE_DEVICE={name!r}: there is no GPU here that torch can use.")
        return device

    def check(self) -> None:
        """Check the device.

        Raises:
            ParamsError: there is no such device.
        """
        _ = self.device

    def complete(
        self, questions: Sequence[Sequence[int]], max_new_tokens: int, done: Callable[[float], None] = lambda _: None
    ) -> list[str]:
        """One answer per question, in the same order.

        Args:
            questions: token ids, special tokens included.
            max_new_tokens: largest number of tokens of an answer.
            done: called after each batch with its number of questions.

        Raises:
            MissingInputError: the model cannot be loaded, or has no safetensors weights.
            MemoryNeedError: the device has too little memory for the model.
        """
        import torch

        self._enter()
        answers = [""] * len(questions)
        order = sorted(
            range(len(questions)), key=lambda i: len(questions[i]), reverse=True
        )  # the longest first, so that a lack of memory shows at once
        room = TOKENS
        while order:
            longest = len(questions[order[0]]) + max_new_tokens
            rows = order[: max(1, room // longest)]
            try:
                texts = self._batch([questions[i] for i in rows], max_new_tokens)
            except torch.cuda.OutOfMemoryError:
                if len(rows) == 1:
                    raise
                room = longest * (len(rows) // 2)
                torch.cuda.empty_cache()
                continue
            for i, text in zip(rows, texts, strict=True):
                answers[i] = text
            order = order[len(rows) :]
            done(len(rows))
        return answers

    def leave(self) -> None:
        """Move the model off the device; the next question moves it back."""
        if self._model is not None and self.device.type != "cpu":
            residency.move(self._model, "cpu")

    def _enter(self) -> None:
        residency.enter(self)
        if self._model is None:
            self._model = self._load()
        if self._model.device != self.device:
            residency.move(self._model, self.device)

    def _auto_class(self) -> Any:
        """The class of `transformers` that loads the model."""
        from transformers import AutoModelForCausalLM

        return AutoModelForCausalLM

    def _load(self) -> Any:
        import torch
        from transformers.utils.logging import disable_progress_bar

        disable_progress_bar()
        source, device = self._source, self.device
        if not hasattr(source.config, "quantization_config"):
            kind = getattr(source.config, "dtype", None) or torch.float32
            memory.refuse_weights(memory.weight_bytes(source.config, kind), device, source.model)
        logger.warning("Loading the judge %s on %s", source.model, device)
        try:
            model: Any = self._auto_class().from_pretrained(
                source.model,
                revision=source.revision,
                dtype="auto",
                device_map={"": device},
                use_safetensors=True,
                trust_remote_code=False,
            )
        except OSError as error:
            first = str(error).strip().split("\n")[0]
            raise MissingInputError(f"Could not load the guard model {source.model!r}: {first}") from error
        return model.eval()

    def _batch(self, questions: Sequence[Sequence[int]], max_new_tokens: int) -> list[str]:
        import torch
        from transformers import GenerationConfig

        tokenizer, model = self._source.tokenizer, self._model
        ends = model.generation_config.eos_token_id if model.generation_config else None
        ends = tokenizer.eos_token_id if ends is None else ends
        first_end = ends[0] if isinstance(ends, list) else ends
        pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else first_end or 0
        width = max(map(len, questions))
        ids = torch.tensor([[pad] * (width - len(q)) + list(q) for q in questions], device=self.device)
        mask = torch.tensor([[0] * (width - len(q)) + [1] * len(q) for q in questions], device=self.device)
        # a verdict uses greedy decoding, without the sampling settings of the card or its repetition penalty
        plain = GenerationConfig(
            max_new_tokens=max_new_tokens, do_sample=False, repetition_penalty=1.0, eos_token_id=ends, pad_token_id=pad
        )
        model.generation_config = plain
        with torch.inference_mode():
            out = model.generate(input_ids=ids, attention_mask=mask, generation_config=plain)
        return [str(tokenizer.decode(row, skip_special_tokens=True)) for row in out[:, width:]]
