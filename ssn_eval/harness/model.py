"""`ssn_hf`: lm_eval's Hugging Face model with neuron interventions, SS-Neuron adapters and checkpoints.

`lm_eval --model ssn_hf --model_args pretrained=M,neurons=F,op=suppress|scale:2|mean|set:0.95|none,adapter=DIR`; every other
`hf` argument works as before. Without `pretrained=`, the model and the trained adapter (if there is one) come from the pipeline
in the current folder; `adapter=none` leaves the adapter out. `docs/interventions.md` and `docs/checkpoints.md` show all
arguments; `arguments.py` reads them.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from lm_eval.models.huggingface import HFLM

from ssn_eval.core import progress
from ssn_eval.core.errors import MissingInputError, ParamsError
from ssn_eval.core.neurons import NeuronSet
from ssn_eval.core.origin import ModelRef
from ssn_eval.harness import arguments, endings
from ssn_eval.harness.arguments import ModelArguments
from ssn_eval.harness.conditioned import Conditioned, folder_hash, refuse_several
from ssn_eval.harness.endings import Endings
from ssn_eval.harness.exits import one_sentence
from ssn_eval.interventions import hooks, residual, weights
from ssn_eval.interventions.hooks import intervene
from ssn_eval.interventions.ops import Op
from ssn_eval.models import deltas, heads, loading, quantization, residency, templates
from ssn_eval.models.classes import auto_class
from ssn_eval.models.generation import NO_PENALTY
from ssn_eval.models.loading import Loaded, ModelSpec
from ssn_eval.models.tokens import leave_out_end
from ssn_eval.training.adapters.folder import load_adapter

logger = logging.getLogger(__name__)
_HFLM: Any = HFLM  # lm_eval's registration hides the class's type


_REPORT: Mapping[str, Any] = {"output_loading_info": True, "ignore_mismatched_sizes": True}
"""arguments of `from_pretrained` that give `loading.refuse_incomplete` its report"""


class SsnHFLM(Conditioned, _HFLM):
    """An `HFLM` with neuron interventions, a neuron-LoRA, or a checkpoint's weights.

    All replies are generated before the first is judged. A judge that needs the device moves this model off it (`residency`).
    """

    door = "ssn_hf"
    _away = False
    _requests, _answered = 0, 0

    def __init__(self, pretrained: Any = None, **kwargs: Any) -> None:
        """Load the model, then the adapter or the checkpoint, then attach the interventions.

        Args:
            pretrained: as for `hf`, or `package:NAME` for a model inside an installed package; without it, the pipeline's model.
            **kwargs: the arguments of `ModelArguments`, and everything that `hf` takes.

        Raises:
            SsnError: bad input; ends a command with one sentence.
        """
        given = ModelArguments.taken(kwargs)
        with one_sentence():
            self._treatment = given.treatment()
            self._checkpoint = arguments.checkpoint(given.checkpoint)
            spec, adapter = arguments.model_spec(pretrained, given.wanted_adapter(), kwargs)
            self._spec, self._adapter, self._other_model = spec, adapter, bool(given.other_model)
            self._peft = folder_hash(kwargs.get("peft"))
            refuse_several(adapter=adapter, checkpoint=given.checkpoint, peft=kwargs.get("peft"))
            if spec is None and (self._treatment.sets or given.direction or given.checkpoint):
                raise ParamsError(
                    "neurons=, direction= and checkpoint= need pretrained= as a hub id or a folder, not a loaded model."
                )
            if kwargs.get("device") is None:  # HFLM's own default is "cuda" on every machine
                kwargs["device"] = "cuda" if torch.cuda.is_available() else "cpu"
            try:
                super().__init__(self._weights(pretrained, kwargs), **kwargs)  # pyright: ignore[reportCallIssue]  # lm_eval hides its type
                self._refuse_endless()
                if leave_out_end(self.tokenizer):
                    logger.warning("ssn_hf: the tokenizer would add an end token behind every prompt; it is left out.")
                self._bind_template()
            except OSError as error:
                first_line = str(error).strip().splitlines()[0]
                raise MissingInputError(
                    f"Could not load the model {pretrained or 'of the pipeline'!r}: {first_line}"
                ) from error
            except loading.UNREADABLE as error:
                raise loading.unreadable(str(pretrained or "The pipeline's model"), error) from error

    @classmethod
    def of(cls, loaded: Loaded, batch_size: int) -> SsnHFLM:
        """An `ssn_hf` of a model that is in memory already; interventions on it stay active."""
        args = dict(loaded.template.args)
        return cls(loaded.model, tokenizer=loaded.tokenizer, batch_size=batch_size, chat_template_args=args)

    @classmethod
    def from_spec(
        cls, spec: ModelSpec, batch_size: int, *, adapter: Path | None = None, checkpoint: Path | None = None
    ) -> SsnHFLM:
        """The model of a spec, with an adapter, with a full checkpoint in its place, or with a delta added.

        Raises:
            SsnError: bad input; ends a command with one sentence.
        """
        located = loading.locate(spec)
        delta = checkpoint if checkpoint and checkpoint.is_file() else None
        replaced = checkpoint if checkpoint and not delta else None
        lm = cls(
            str(replaced) if replaced else located.pretrained,
            adapter=str(adapter) if adapter else None,
            checkpoint=str(delta) if delta else None,
            revision=None if replaced else located.revision or "main",
            gguf_file=None if replaced else located.gguf_file,
            dtype=located.dtype,
            batch_size=batch_size,
            chat_template_args=dict(located.chat_template_args),
        )
        with one_sentence():
            templates.bind(lm.tokenizer, replace(spec.template, args=lm.chat_template_args))
        return lm

    @property
    def ref(self) -> ModelRef:
        """The identity of the base model."""
        return self._ref

    @contextmanager
    def intervened(self, neurons: NeuronSet, op: Op) -> Iterator[SsnHFLM]:
        """This model with an intervention while the body runs."""
        with intervene(self.model, neurons, op):
            yield self

    @contextmanager
    def adapted(self, adapter: Path) -> Iterator[SsnHFLM]:
        """This model with an adapter while the body runs; the adapter is taken off afterwards, and the weights are what they were.

        Raises:
            SsnError: the model has an adapter already, or this one does not fit.
        """
        with one_sentence():
            self._refuse_more()
            base: Any = self._model
            tuned = load_adapter(base, adapter, self._ref, other_weights=self._other_model)
        self._model, self._adapter = tuned.eval(), str(adapter)
        if quantization.method_of(base) is None:
            tuned.to(self.device)
        try:
            yield self
        finally:
            self._model, self._adapter = tuned.unload(), None

    @contextmanager
    def edited(self, delta_file: Path) -> Iterator[SsnHFLM]:
        """This model with a delta (`ssn edit`) while the body runs; the weights are what they were afterwards.

        Raises:
            SsnError: the model has an adapter, a checkpoint or neurons already, or the delta is of another model.
        """
        with one_sentence():
            self._refuse_more()
            checkpoint = arguments.checkpoint(str(delta_file))
            assert checkpoint and checkpoint.delta, "a file is a delta"  # noqa: PT018
            if not self._other_model:
                checkpoint.refuse_other_base(self._ref)
        with deltas.applied(self._model, checkpoint.delta):
            self._checkpoint = checkpoint
            try:
                yield self
            finally:
                self._checkpoint = None

    def _refuse_more(self) -> None:
        """Stop if the model is not the base alone.

        Raises:
            ParamsError: it has an adapter, a checkpoint or neurons.
        """
        if self._adapter or self._checkpoint or self._treatment.interventions:
            raise ParamsError("This model has an adapter, a checkpoint or neurons= already; load the base model alone.")

    def _weights(self, pretrained: Any, kwargs: dict[str, Any]) -> Any:
        """The model that `HFLM` loads, or the full checkpoint in its place; a checkpoint without a tokenizer gets the base's."""
        if self._spec is None:
            return pretrained
        if self._checkpoint is None or self._checkpoint.delta is not None:
            return self._spec.pretrained
        folder = self._checkpoint.path
        if not (folder / "tokenizer_config.json").is_file():
            kwargs.setdefault("tokenizer", self._spec.pretrained)
        kwargs |= {"revision": "main", "gguf_file": None}
        return str(folder)

    def _create_model(self, pretrained: str, **kwargs: Any) -> None:
        """Load as `HFLM`, add the delta or the adapter, then the interventions: they act on base and adapter together."""
        if self.backend == "causal":
            self.AUTO_MODEL_CLASS = auto_class(self.config)  # a wrapper with images may have no causal class
        has_report = not any(kwargs.get(name) for name in ("peft", "delta", "autogptq", "gptqmodel"))
        super()._create_model(pretrained=pretrained, **kwargs, **(_REPORT if has_report else {}))
        if has_report:
            model_and_report: Any = self._model
            self._model, report = model_and_report
            with one_sentence():
                loading.refuse_incomplete(report, pretrained)
        assert self._spec is not None  # HFLM calls this only if `pretrained` is a text, which has a spec
        base_model: Any = getattr(self._model, "get_base_model", lambda: self._model)()
        self._ref = loading.reference(self._spec, base_model)
        heads.keep_fast(base_model)
        if self._checkpoint:
            if not self._other_model:
                self._checkpoint.refuse_other_base(self._ref)
            if self._checkpoint.delta:
                deltas.apply(base_model, self._checkpoint.delta)
        if self._adapter:
            folder = Path(self._adapter)
            self._model = load_adapter(base_model, folder, self._ref, other_weights=self._other_model)
            if (
                quantization.method_of(base_model) is None
            ):  # quantised weights are where they stay, and PEFT puts the adapter beside them
                self._model.to(self.device)
        self._treatment.refuse_other(self._ref, self._ancestors(), self._other_model)
        model: Any = self._model
        if not weights.bake_exact(model, self._treatment.interventions, self._treatment.reference):
            hooks.attach(model, self._treatment.interventions, self._treatment.reference)
        if self._treatment.direction and self._treatment.direction_op:
            residual.attach(base_model, self._treatment.direction, self._treatment.direction_op)

    def _refuse_positions(self) -> None:
        if not self._treatment.everywhere():
            with one_sentence():
                raise ParamsError(
                    "This task asks for likelihoods, where prompt and answer are read in one pass, so positions=prompt and "
                    "positions=generated have no meaning; use positions=all, or tasks that generate."
                )

    def generate_until(self, *args: Any, **kwargs: Any) -> Any:
        """As `HFLM`, and each request learns whether its text ended by itself. A model that had left the device for a judge moves back first.

        Inside work that shows its own progress, lm_eval's bar is not shown.
        """
        self._enter()
        if progress.is_open():
            kwargs["disable_tqdm"] = True
        self._requests, self._answered = len(args[0] if args else kwargs["requests"]), 0
        hook = self.cache_hook
        self.cache_hook: Any = Endings(hook)
        try:
            texts = super().generate_until(*args, **kwargs)
            self.cache_hook.mark(args[0] if args else kwargs["requests"])
        finally:
            self.cache_hook = hook
        return texts

    def _model_generate(self, context: Any, max_length: int, stop: list[str], **generation_kwargs: Any) -> Any:
        """As `HFLM`; greedy decoding has no penalties unless they are asked for. Remembers which texts ended by themselves."""
        if not generation_kwargs.get("do_sample") and not generation_kwargs.get("temperature"):
            generation_kwargs = {**NO_PENALTY, **generation_kwargs}
        output = super()._model_generate(context, max_length, stop, **generation_kwargs)
        self._answered += len(context)
        progress.part(self._answered / max(self._requests, self._answered))
        if isinstance(self.cache_hook, Endings):
            new_tokens = output[:, context.shape[1] :].tolist()
            ends = self._end_tokens()
            stops = [text for text in stop if text not in {self.tok_decode(i, skip_special_tokens=False) for i in ends}]
            texts = [self.tok_decode(tokens) for tokens in new_tokens] if stops else None
            self.cache_hook.add_batch(endings.ended(new_tokens, ends, texts, stops))
        return output

    def _end_tokens(self) -> set[int]:
        """The ids of the tokens that end a reply: those of the generation config, and the tokenizer's."""
        configured = getattr(self.model.generation_config, "eos_token_id", None)
        ids = configured if isinstance(configured, list | tuple) else [configured]
        return {int(i) for i in [*ids, self.eot_token_id] if i is not None}

    def loglikelihood(self, *args: Any, **kwargs: Any) -> Any:
        """As `generate_until`; refused if prompt tokens and generated tokens are changed differently."""
        self._refuse_positions()
        self._enter()
        if progress.is_open():
            kwargs["disable_tqdm"] = True
        return super().loglikelihood(*args, **kwargs)

    def loglikelihood_rolling(self, *args: Any, **kwargs: Any) -> Any:
        """As `loglikelihood`."""
        self._refuse_positions()
        self._enter()
        return super().loglikelihood_rolling(*args, **kwargs)

    def leave(self) -> None:
        """Make room on the device for a judge; the next request brings the model back."""
        if self.device.type != "cpu" and not self._away:
            self._away = residency.move(self.model, "cpu")
            if not self._away:
                logger.warning("The evaluated model is quantised or spread over devices and stays beside the judge.")

    def _enter(self) -> None:
        residency.enter(self)
        if self._away:
            residency.move(self.model, self.device)
            self._away = False

    def _identity(self) -> Mapping[str, Any]:
        """Weights, dtype, quantisation, adapters and interventions."""
        config = getattr(self.model, "config", None)
        return {
            "weights": self._ref.weights if self._spec else str(getattr(config, "_name_or_path", "")),
            "dtype": str(getattr(self.model, "dtype", None)),
            "quantization": str(getattr(config, "quantization_config", None)),
            "peft": self._peft,
            "condition": self.condition(),
        }

    def get_model_info(self) -> dict:
        """lm_eval's model information, with the interventions and the adapter; it is written to the results' `config`."""
        return {**super().get_model_info(), "ssn_eval": self.record()}
