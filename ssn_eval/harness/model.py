"""`ssn_hf`: lm_eval's Hugging Face model with neuron interventions and SS-Neuron adapters.

`lm_eval --model ssn_hf --model_args pretrained=M,neurons=F,op=suppress|scale:2|none,adapter=DIR`; every other `hf` argument
works as before. Without `pretrained=` it takes the model, and the trained adapter if there is one, of the pipeline in the
current folder (`adapter=none` leaves the adapter out).
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch
from lm_eval.models.huggingface import HFLM

from ssn_eval import adapters, files, interventions, models, residency, store
from ssn_eval.errors import MismatchError, MissingInputError, ParamsError
from ssn_eval.harness.exits import one_sentence
from ssn_eval.models import ModelSpec

SPEC = Path("artifacts/model/spec.json")
"""where the pipeline says which model it runs on"""
TRAINED = Path("artifacts/train/ssn")
"""where the pipeline keeps the SS-Neuron adapter"""
_PIPELINE = "(the pipeline's)"
_MARK = "ssn_eval: condition"
"""the key under which a response cache remembers whose responses it holds"""

logger = logging.getLogger(__name__)
_HFLM: Any = HFLM  # lm_eval's registration hides the class's type


class SsnHFLM(_HFLM):
    """An `HFLM` whose chosen neurons are suppressed or scaled at every position, or that carries a neuron-LoRA.

    Every reply is generated before any is judged; a judge that needs the device makes this model leave it (`residency`).
    """

    _away = False

    def __init__(
        self,
        pretrained: Any = None,  # noqa: ANN401
        *,
        neurons: str | None = None,
        op: str | None = None,
        adapter: str | None = _PIPELINE,
        other_model: bool = False,
        **kwargs: Any,  # noqa: ANN401
    ) -> None:
        """Load the model, then the adapter, then attach the intervention.

        Args:
            pretrained: as for `hf`, or `package:NAME` for a model inside an installed package; none: the pipeline's model.
            neurons: a neuron set (`.json` or `.safetensors`).
            op: `suppress` (the default where `neurons` is given), `scale:<number>` or `none`.
            adapter: a neuron-LoRA folder; checked against the base model.
            other_model: allow a set or adapter made on other weights of the same shape.
            **kwargs: everything that `hf` takes.

        Raises:
            SsnError: bad input; ends a command with one sentence.
        """
        with one_sentence():
            spec, adapter = _resolve(pretrained, adapter, kwargs)
            self._spec, self._adapter, self._other_model = spec, adapter, bool(other_model)
            self._neuron_file = store.load_neurons(Path(neurons)) if neurons else None
            self._op = interventions.parse_op(op if op is not None else ("suppress" if neurons else "none"))
            if neurons is None and self._op != interventions.NONE:
                raise ParamsError(f"op={op} needs a neuron set: add neurons=FILE to model_args.")
            if adapter and kwargs.get("peft"):
                raise ParamsError("Both adapter= and peft= were given; give one of them.")
            if kwargs.get("device") is None:  # HFLM takes "cuda" for granted
                kwargs["device"] = "cuda" if torch.cuda.is_available() else "cpu"
            try:
                super().__init__(pretrained if spec is None else spec.pretrained, **kwargs)
            except OSError as error:
                first = str(error).strip().splitlines()[0]
                raise MissingInputError(
                    f"Could not load the model {pretrained or 'of the pipeline'!r}: {first}"
                ) from error

    def _create_model(self, pretrained: str, **kwargs: Any) -> None:  # noqa: ANN401
        """As `HFLM`, then the adapter, then the hooks, so that an intervention sees base and adapter together."""
        super()._create_model(pretrained=pretrained, **kwargs)
        assert self._spec is not None  # a text was given, so it was resolved
        plain: Any = getattr(self._model, "get_base_model", lambda: self._model)()
        self._ref = models.reference(self._spec, plain)
        if self._adapter:
            folder = Path(self._adapter)
            self._model = adapters.load(plain, folder, self._ref, other_weights=self._other_model)
            self._model.to(self.device)
        if self._neuron_file:
            self._refuse_other_neurons()
            final: Any = self._model
            interventions.attach(final, self._neuron_file.neurons, self._op)

    def _refuse_other_neurons(self) -> None:
        assert self._neuron_file is not None
        try:
            self._neuron_file.model.refuse_other(self._ref, "The neuron set")
        except MismatchError:
            same_shape = self._neuron_file.model.geometry.to_json() == self._ref.geometry.to_json()
            if not (self._other_model and same_shape):
                raise

    def set_cache_hook(self, cache_hook: Any) -> None:  # noqa: ANN401
        """Refuse a response cache that another condition has filled: lm_eval keys it by request only.

        The first run marks the cache with its condition; a cache of plain `hf` has no mark and serves the plain model only.

        Raises:
            ParamsError: the cache holds another condition's responses.
        """
        cache = getattr(cache_hook, "dbdict", None)
        if cache is not None:
            with one_sentence():
                mine = self.condition()
                found = cache.get(_MARK, "" if len(cache) else mine)
                if found != mine:
                    raise ParamsError(
                        f"The cache of --use_cache holds responses of another model or intervention "
                        f"({found or 'unmarked'}, this run is {mine or 'the plain model'}), and lm_eval would return them as "
                        f"this run's; give each condition its own --use_cache path."
                    )
                cache[_MARK] = mine
        super().set_cache_hook(cache_hook)

    def generate_until(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        """As `HFLM`, back on the device if a judge had needed it."""
        self._enter()
        return super().generate_until(*args, **kwargs)

    def loglikelihood(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        """As `HFLM`, back on the device if a judge had needed it."""
        self._enter()
        return super().loglikelihood(*args, **kwargs)

    def loglikelihood_rolling(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        """As `HFLM`, back on the device if a judge had needed it."""
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

    def condition(self) -> str:
        """Ten hex digits that name the intervention and adapter; empty for the plain model."""
        import hashlib

        parts = []
        if self._neuron_file and self._op != interventions.NONE:
            parts.append(f"{self._op} {sorted(self._neuron_file.neurons.members)}")
        if self._adapter:
            parts.append(files.sha256(Path(self._adapter)))
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:10] if parts else ""

    def get_model_info(self) -> dict:
        """lm_eval's model information, and what was done to the model; lands in the results' `config`."""
        info = super().get_model_info()
        ssn: dict[str, Any] = {"op": str(self._op), "condition": self.condition(), "adapter": self._adapter}
        if self._spec is not None:
            ssn["model"] = self._ref.to_json()
        if self._neuron_file:
            ssn["intervention"] = interventions.describe(self._neuron_file.neurons, self._op)
            ssn["neurons_model"] = self._neuron_file.model.to_json()
        return {**info, "ssn_eval": ssn}


def _resolve(pretrained: Any, adapter: str | None, kwargs: dict[str, Any]) -> tuple[ModelSpec | None, str | None]:  # noqa: ANN401
    """Which model and adapter: as named, or the pipeline's in the current folder; fills `kwargs` from the pipeline's spec."""
    adapter = None if adapter == "none" else adapter  # the text arrives as it is from lm_eval's command line
    if pretrained is not None and not isinstance(pretrained, str):
        if adapter not in (None, _PIPELINE):
            raise ParamsError("adapter= needs pretrained= as a hub id or a folder, not a loaded model.")
        return None, None
    if pretrained is None:
        if not Path("dvc.yaml").is_file() or not SPEC.is_file():
            raise MissingInputError(
                "No model was named and there is no finished pipeline in the current folder; pass "
                "--model_args pretrained=<hub id or folder>, or run `dvc repro` first."
            )
        spec = models.read_spec(SPEC)
        for name in ("revision", "gguf_file", "dtype"):
            if getattr(spec, name) and name not in kwargs:
                kwargs[name] = getattr(spec, name)
        if adapter == _PIPELINE:
            adapter = str(TRAINED) if (TRAINED / "adapter_config.json").is_file() else None
            logger.warning("ssn_hf: the pipeline's model %s, adapter %s", spec.pretrained or spec.package, adapter)
    else:
        package = pretrained.removeprefix("package:") if pretrained.startswith("package:") else None
        spec = ModelSpec("" if package else pretrained, kwargs.get("revision"), kwargs.get("gguf_file"), package)
        adapter = None if adapter == _PIPELINE else adapter
    return models.locate(spec), adapter
