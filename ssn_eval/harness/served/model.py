"""`ssn_vllm`: lm_eval's `vllm` with the arguments of `ssn_hf`.

`lm_eval --model ssn_vllm --model_args pretrained=M,neurons=F,op=suppress|scale:2|mean|set:0.95|none,adapter=DIR,checkpoint=C`; every
other `vllm` argument works as before (`tensor_parallel_size`, `data_parallel_size`, `quantization`, `max_model_len`, …). The
condition is written into weights before the engine starts (`weights.py`); what cannot be written is refused.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from ssn_eval.core import cache
from ssn_eval.core.errors import MissingInputError, ParamsError, SsnError
from ssn_eval.core.neurons import NeuronSet
from ssn_eval.core.store import NeuronFile
from ssn_eval.harness import arguments
from ssn_eval.harness.arguments import Checkpoint, ModelArguments, Treatment
from ssn_eval.harness.conditioned import Conditioned, folder_hash, refuse_several
from ssn_eval.harness.endings import Endings
from ssn_eval.harness.exits import one_sentence
from ssn_eval.harness.served import library
from ssn_eval.harness.served.weights import Condition, Served, own_dtype, refuse_unservable, serve
from ssn_eval.interventions.ops import Intervention, Op
from ssn_eval.models import engine, loading, residency, templates
from ssn_eval.models.loading import ModelSpec
from ssn_eval.models.tokens import leave_out_end
from ssn_eval.training.adapters.folder import is_weights, refuse_other_base

DOOR = "ssn_vllm"
_PARALLEL = ("tensor_parallel_size", "pipeline_parallel_size", "data_parallel_size", "quantization", "max_model_len")
"""arguments of vLLM that are written into the results"""

logger = logging.getLogger(__name__)
_Base: Any = library.base_class()


class SsnVLLM(Conditioned, _Base):
    """A `VLLM` with neuron interventions, a neuron-LoRA, or a checkpoint's weights.

    The engine's memory is given back when a judge needs the device; the next request starts the engine again.
    """

    door = DOOR
    model: Any = None
    """vLLM's engine; None if it has left, or if lm_eval starts engines for every call (`data_parallel_size`)"""

    def __new__(cls, *_: Any, **__: Any) -> SsnVLLM:
        """Stop if vLLM cannot be used: lm_eval's class of it cannot even be imported then."""
        with one_sentence():
            library.refuse_missing(f"--model {DOOR}")
        return super().__new__(cls)

    def __init__(
        self,
        pretrained: Any = None,
        *,
        merge: bool = False,
        enable_thinking: bool | None = None,
        chat_template_args: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Write the condition into weights, if it has not been before, and start the engine.

        Args:
            pretrained: as for `vllm`, or `package:NAME` for a model inside an installed package; without it, the pipeline's model.
            merge: merge the adapter in any case; without it, vLLM serves the adapter as a LoRA if it can.
            enable_thinking: as for `hf`.
            chat_template_args: as for `hf`.
            **kwargs: the arguments of `ModelArguments`, and everything that `vllm` takes. `direction` is refused, and so are other
                `positions` than `all`: weights cannot express them.

        Raises:
            SsnError: bad input, or an engine that does not start; ends a command with one sentence.
        """
        given = ModelArguments.taken(kwargs)
        with one_sentence():
            if given.direction:
                raise ParamsError(f"{DOOR} has no hooks for direction=; use --model ssn_hf, which has.")
            self._treatment = given.treatment()
            self._checkpoint = arguments.checkpoint(given.checkpoint)
            if pretrained is not None and not isinstance(pretrained, str):
                raise ParamsError(f"{DOOR} takes pretrained= as a hub id or a folder; a loaded model runs in ssn_hf.")
            spec, self._adapter = arguments.model_spec(pretrained, given.wanted_adapter(), kwargs)
            assert spec is not None  # only a loaded model has none
            own_lora = kwargs.get("lora_local_path")
            refuse_several(adapter=self._adapter, checkpoint=given.checkpoint, lora_local_path=own_lora)
            if own_lora and self._treatment.interventions:
                raise ParamsError("neurons= act on base and adapter together; name the adapter with adapter=.")
            self._own_lora, self._other_model = folder_hash(own_lora), bool(given.other_model)
            self._spec = replace(spec, dtype=str(kwargs.pop("dtype", None) or "auto"))
            trust = bool(kwargs.get("trust_remote_code"))
            self._settings = {name: kwargs[name] for name in _PARALLEL if name in kwargs}
            kwargs.pop("gguf_file", None)
            template_args = dict(kwargs.pop("chat_template_args", None) or {}) | dict(chat_template_args or {})
            if enable_thinking is not None:
                template_args["enable_thinking"] = enable_thinking
            try:
                self._ref = loading.identity(self._spec, trust_remote_code=trust)
                self._spec = replace(self._spec, dtype=own_dtype(self._spec))
                served = self._serve(kwargs, trust, bool(merge))
                self._start(served, kwargs)
                self._refuse_endless()
                if leave_out_end(self.tokenizer):
                    logger.warning(
                        "%s: the tokenizer would add an end token behind every prompt; it is left out.", DOOR
                    )
                self.chat_template_args = template_args
                self._bind_template()
            except OSError as error:
                first_line = str(error).strip().splitlines()[0]
                raise MissingInputError(f"Could not load the model {self._spec.name!r}: {first_line}") from error
        self.enable_thinking = bool(self.chat_template_args.get("enable_thinking"))  # lm_eval refuses likelihoods then

    def _serve(self, kwargs: Mapping[str, Any], trust_remote_code: bool, merge: bool) -> Served:
        """Check that everything belongs to the model, and make the weights."""
        assert self._spec is not None
        if self._checkpoint and not self._other_model:
            self._checkpoint.refuse_other_base(self._ref)
        adapter = Path(self._adapter) if self._adapter else None
        if adapter is not None and not self._other_model:
            refuse_other_base(adapter, self._ref)
        self._treatment.refuse_other(self._ref, self._ancestors(), self._other_model)
        condition = Condition(
            self._spec, self._ref, self._treatment, self._checkpoint, adapter, self._other_model, trust_remote_code
        )
        refuse_unservable(condition)
        largest = kwargs.get("max_lora_rank")
        ranks = [rank for rank in library.ranks() if largest is None or rank <= int(largest)]
        return serve(condition, ranks, merge_adapter=merge)

    def _start(self, served: Served, kwargs: dict[str, Any]) -> None:
        """Start lm_eval's engine on the served weights."""
        assert self._spec is not None
        self._served = served
        if not (Path(served.model) / "tokenizer_config.json").is_file() and served.way == "checkpoint":
            kwargs.setdefault("tokenizer", self._spec.pretrained)
        kwargs["revision"] = served.revision
        kwargs["dtype"] = self._spec.dtype
        if served.lora is not None:
            kwargs |= {"lora_local_path": str(served.lora), "max_lora_rank": served.rank}
        with engine.one_failure("starting"):
            super().__init__(served.model, **kwargs)  # pyright: ignore[reportCallIssue]  # lm_eval hides its type
        self._in_engine = served.model

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """The text of a conversation, as `ssn_hf` makes it: lm_eval's `vllm` loses `enable_thinking` in `chat_template_args`."""
        from jinja2 import TemplateError

        options = {"add_generation_prompt": add_generation_prompt, "continue_final_message": not add_generation_prompt}
        options |= self.chat_template_args
        try:
            return str(self.tokenizer.apply_chat_template(chat_history, tokenize=False, **options))
        except TemplateError:
            logger.warning("%s: the chat template takes no system prompt; it is left out.", DOOR)
            turns = [turn for turn in chat_history if turn["role"] != "system"]
            return str(self.tokenizer.apply_chat_template(turns, tokenize=False, **options))

    def generate_until(self, requests: Any, disable_tqdm: bool = False) -> list[str]:
        """As `vllm`, and each request learns whether its text ended by itself."""
        if not requests:
            return []
        hook = self.cache_hook
        self.cache_hook: Any = Endings(hook, by_context=True)
        try:
            with one_sentence():
                texts = super().generate_until(requests, disable_tqdm=disable_tqdm)
            self.cache_hook.mark(requests)
        finally:
            self.cache_hook = hook
        return texts

    def _model_generate(self, requests: Any, generate: bool = False, sampling_params: Any = None) -> Any:
        """As `vllm`; an engine that had left the device for a judge starts again, and one that dies is an `EngineError`."""
        self._enter()
        with engine.one_failure("answering", self.model), engine.shown_bars_only(self.model):
            outputs = super()._model_generate(requests, generate, sampling_params)
        if generate and isinstance(self.cache_hook, Endings):
            answers = [output.outputs[0] for output in outputs]
            self.cache_hook.add_batch([answer.finish_reason == "stop" for answer in answers])
            for answer, asked in zip(answers, sampling_params, strict=True):
                if answer.finish_reason == "length":  # vLLM drops the bytes of a letter that the limit cuts off
                    answer.text = self.tokenizer.decode(
                        answer.token_ids, skip_special_tokens=getattr(asked, "skip_special_tokens", True)
                    )
        return outputs

    def _loglikelihood_tokens(self, *args: Any, **kwargs: Any) -> Any:
        with one_sentence():
            return super()._loglikelihood_tokens(*args, **kwargs)

    def modify_gen_kwargs(self, gen_kwargs: dict[str, Any], **options: Any) -> tuple[dict[str, Any], list[str], int]:
        """As `vllm`; special tokens are left out of a text, as `ssn_hf` does, unless a stop sequence is one."""
        settings, stops, tokens = _Base.modify_gen_kwargs(gen_kwargs, **options)
        special = set(self.tokenizer.all_special_tokens) - {options.get("eos")}
        if special.isdisjoint(stops) and "skip_special_tokens" not in gen_kwargs:
            settings["skip_special_tokens"] = True
        return settings, stops, tokens

    @classmethod
    def from_spec(cls, spec: ModelSpec, settings: Mapping[str, Any]) -> SsnVLLM:
        """The model of a spec.

        Args:
            spec: the model and its template settings.
            settings: further arguments of `vllm`.

        Raises:
            SsnError: bad input; ends a command with one sentence.
        """
        located = loading.locate(spec)
        located_as = {"revision": located.revision, "gguf_file": located.gguf_file, "dtype": located.dtype}
        lm = cls(
            located.pretrained,
            adapter=None,
            batch_size="auto",
            chat_template_args=dict(located.chat_template_args),
            **located_as,
            **settings,
        )
        with one_sentence():
            templates.bind(lm.tokenizer, replace(spec.template, args=lm.chat_template_args))
        return lm

    @contextmanager
    def intervened(self, neurons: NeuronSet, op: Op) -> Iterator[SsnVLLM]:
        """This model with an intervention while the body runs, in the same engine."""
        with self._changed(Treatment((Intervention(neurons, op),), (NeuronFile(neurons, self._ref),))):
            yield self

    @contextmanager
    def trained(self, folder: Path) -> Iterator[SsnVLLM]:
        """This model with an adapter or a delta, or a full checkpoint in its place, while the body runs, in the same engine."""
        with one_sentence():
            checkpoint = arguments.checkpoint(str(folder)) if is_weights(folder) else None
        with self._changed(Treatment(), checkpoint, None if checkpoint else folder):
            yield self

    @contextmanager
    def _changed(
        self, treatment: Treatment, checkpoint: Checkpoint | None = None, adapter: Path | None = None
    ) -> Iterator[None]:
        """The engine on the weights of a condition; those that lie in the cache are removed from it afterwards."""
        assert self._spec is not None
        with one_sentence():
            if self.condition():
                raise ParamsError("This model has a condition already; open the base model alone.")
            if checkpoint:
                checkpoint.refuse_other_base(self._ref)
            if adapter is not None:
                refuse_other_base(adapter, self._ref)
            condition = Condition(self._spec, self._ref, treatment, checkpoint, adapter)
            refuse_unservable(condition)
            served = serve(condition, (), merge_adapter=True, suffix=f"-{os.getpid()}")
            base, self._served = self._served, served
            self._treatment, self._checkpoint, self._adapter = treatment, checkpoint, str(adapter) if adapter else None
        try:
            yield
        finally:
            self._served = base
            self._treatment, self._checkpoint, self._adapter = Treatment(), None, None
            if served.is_cached and served.model != base.model:
                with suppress(SsnError):  # someone may have cleared the cache
                    cache.clear([Path(served.model).name])

    def leave(self) -> None:
        """End the engine, so that a judge has the device to itself."""
        if self.model is not None:
            engine.close(self.model)
            self.model = None
            engine.free()

    def _enter(self) -> None:
        """Start the engine if it has left, and give it the weights of the condition if it has others."""
        residency.enter(self)
        if self.data_parallel_size > 1:  # lm_eval starts engines for every call
            self.model_args["model"] = self._served.model
            return
        if self.model is None:
            from vllm import LLM  # pyright: ignore[reportMissingImports]

            with engine.one_failure("starting again"):
                self.model = LLM(**self.model_args)
            self._in_engine = self.model_args["model"]
        if self._in_engine != self._served.model:
            with engine.one_failure("loading other weights", self.model):
                engine.reload(self.model, self._folder())
            self._in_engine = self._served.model

    def _folder(self) -> str:
        """The folder of the weights that the engine should have; a hub id alone would be its newest revision."""
        assert self._spec is not None
        return str(loading.snapshot(self._spec)) if self._served.way == "as it is" else self._served.model

    def _identity(self) -> Mapping[str, Any]:
        """Weights, dtype, quantisation, adapters and interventions; the engine, because its rounding is its own."""
        return {
            "engine": "vllm",
            "weights": self._ref.weights,
            "dtype": self._spec.dtype if self._spec else None,
            "quantization": str(self._settings.get("quantization")),
            "peft": self._own_lora,
            "condition": self.condition(),
        }

    def get_model_info(self) -> dict[str, Any]:
        """The interventions and the adapter, as `ssn_hf` writes them to the results' `config`, and how vLLM ran them."""
        settings = json.loads(json.dumps(self._settings, default=str))
        ran = {"name": "vllm", "version": library.version(), "weights": self._served.way, "settings": settings}
        info = {"model_dtype": self._spec.dtype, "model_revision": self._spec.revision} if self._spec else {}
        return {**info, "ssn_eval": {**self.record(), "engine": ran}}
