"""What `ssn_hf` and `ssn_vllm` share: the identity of a condition, its record in the results, and the template settings.

A class of lm_eval's that runs a model (`HFLM`, `VLLM`) comes after `Conditioned` among the bases.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ssn_eval.core import files
from ssn_eval.core.errors import FormatError, ParamsError
from ssn_eval.core.origin import ModelRef
from ssn_eval.harness.arguments import Checkpoint, Treatment
from ssn_eval.harness.exits import one_sentence
from ssn_eval.interventions import ops
from ssn_eval.models import lineage, templates
from ssn_eval.models.loading import ModelSpec

_MARK = "ssn_eval: condition"
"""the key in a response cache whose value identifies the model and condition of its responses"""

logger = logging.getLogger(__name__)


class Conditioned:
    """A model of lm_eval's with a condition: interventions, an adapter or a checkpoint."""

    door: str
    """the name after `--model`"""
    tokenizer: Any
    chat_template_args: dict[str, Any]
    _spec: ModelSpec | None
    """None for a model that was in memory already"""
    _ref: ModelRef
    _treatment: Treatment
    _checkpoint: Checkpoint | None
    _adapter: str | None

    def condition(self) -> str:
        """Ten hex digits that name the interventions and the adapter or checkpoint; empty for the plain model."""
        parts = [self._treatment.identity(), self._checkpoint.identity() if self._checkpoint else ""]
        parts += [files.sha256(Path(self._adapter)) if self._adapter else ""]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:10] if any(parts) else ""

    def record(self) -> dict[str, Any]:
        """The object `ssn_eval` in the results' `config`: model, template, interventions, adapter or checkpoint."""
        treatment = self._treatment
        content: dict[str, Any] = {
            "template": templates.of(self.tokenizer).to_json(),
            "op": treatment.op,
            "condition": self.condition(),
            "adapter": self._adapter,
        }
        if self._spec is not None:
            content["model"] = self._ref.to_json()
        if self._checkpoint:
            content["checkpoint"] = self._checkpoint.path.name
        if treatment.interventions:
            content["interventions"] = ops.describe_all(treatment.interventions)
            content["neurons_model"] = treatment.sets[0].model.to_json()
        if treatment.direction:
            content["direction"] = {"layer": treatment.direction.layer, **treatment.direction.provenance}
        if treatment.reference:
            content["reference"] = dict(treatment.reference.provenance)
        return content

    def set_cache_hook(self, cache_hook: Any) -> None:
        """Refuse a response cache that another model or condition has filled: lm_eval's key is the request alone.

        The first run writes its identity into the cache. A filled cache without an identity is refused, because its model is unknown.

        Raises:
            ParamsError: the cache holds other responses.
        """
        cache = getattr(cache_hook, "dbdict", None)
        if cache is not None:
            with one_sentence():
                identity = hashlib.sha256(json.dumps(self._identity(), sort_keys=True).encode()).hexdigest()
                cached_identity = cache.get(_MARK, "" if len(cache) else identity)
                if cached_identity != identity:
                    raise ParamsError(
                        f"The cache of --use_cache holds responses of {'another model, dtype or intervention' if cached_identity else 'a model that it does not name'}, "
                        f"and lm_eval would return them as this run's; give each model and condition its own --use_cache path."
                    )
                cache[_MARK] = identity
        super().set_cache_hook(cache_hook)  # type: ignore[misc]

    def _identity(self) -> Mapping[str, Any]:
        """Everything except the request that decides a reply, as plain JSON values."""
        raise NotImplementedError

    def _ancestors(self) -> Sequence[ModelRef]:
        """The models that this one was made from, if its folder names them. Neuron sets of a base fit a checkpoint fine-tuned from it."""
        return lineage.bases(Path(self._spec.pretrained)) if self._spec else []

    def _refuse_endless(self) -> None:
        """Stop if neither the tokenizer nor the model has an end token: lm_eval needs one."""
        if self.tokenizer.eos_token_id is None:
            raise FormatError(
                f"The tokenizer of {self._spec.pretrained if self._spec else 'this model'} has no end token, so lm_eval cannot tell where a "
                f"reply ends; set eos_token in its tokenizer_config.json."
            )

    def _bind_template(self) -> None:
        """Give the tokenizer lm_eval's template settings; thinking is off unless these settings turn it on.

        Raises:
            FormatError, ParamsError: the errors of `templates.bind`.
        """
        tokenizer: Any = self.tokenizer
        if not getattr(tokenizer, "chat_template", None):
            return
        template = templates.of(tokenizer)
        template = templates.bind(tokenizer, replace(template, args={**template.args, **self.chat_template_args}))
        if dict(template.args) != self.chat_template_args:
            logger.warning(
                "%s: thinking is off (%s); enable_thinking=True turns it on.", self.door, dict(template.args)
            )
        self.chat_template_args = dict(template.args)
        for file in self._treatment.sets:
            set_template = file.provenance.get("template")
            if set_template is not None and set_template.get("args", {}) != self.chat_template_args:
                logger.warning(
                    "%s: the neuron set was identified with other template settings (%s) than this run's (%s).",
                    self.door,
                    set_template.get("args", {}),
                    self.chat_template_args,
                )


def refuse_several(**sources: Any) -> None:
    """Stop if more than one of these arguments is given.

    Raises:
        ParamsError: names them.
    """
    names = [f"{name}=" for name, value in sources.items() if value]
    if len(names) > 1:
        raise ParamsError(f"Both {' and '.join(names)} were given; give one of them.")


def folder_hash(path: str | None) -> str | None:
    """A hash of an adapter's folder; the name of an adapter on the hub."""
    return files.sha256(Path(path)) if path and Path(path).is_dir() else path
