"""`params.yaml` as frozen values, one section per stage. Unknown keys and wrong types raise an error that suggests a key."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml
from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from ssn_eval.core import files, methods, presets
from ssn_eval.core.errors import MissingInputError, ParamsError, UnknownNameError
from ssn_eval.core.languages import language
from ssn_eval.core.methods import METHODS, Method
from ssn_eval.core.neurons import expand_sites
from ssn_eval.core.presets import KEYS, SETS, Preset, check_all
from ssn_eval.core.sweep import FrontierParams

T = TypeVar("T")
_STRICT = ConfigDict(extra="forbid")
_UNKNOWN = ("unexpected_keyword_argument", "extra_forbidden")

ORGANISM = "organism"
"""the key of the default model, which the first stage trains"""


@dataclass(frozen=True, config=_STRICT)
class PromptParams:
    """The source of the prompts of a real model; the organism has its own prompts."""

    harmful: str = "multijail"
    """the name of a benchmark (`multijail`, `advbench_x`, …), or the path of a prompt file"""
    harmless: str = "polyrefuse"
    heldout: float = 0.25
    """share of prompt ids for evaluation, if the source has no split of its own"""
    limit: int | None = None
    """largest number of ids per label and split"""
    replay_tokens: int = 32
    """length limit of a benign answer that the base model writes for replay"""
    seed: int = 0


@dataclass(frozen=True, config=_STRICT)
class ScoreParams:
    """Settings of identification: the scorer and its prompts."""

    method: str = "sketch"
    sites: str | list[str] = "both"
    prompts: int = 64
    """prompts per language and label"""
    probes: int = 4
    batch_size: int = 16
    position: str = "last"
    """`last` prompt token (the paper), `mean` over the prompt, or `response` tokens"""
    target: str = "hidden"
    """`hidden` (the paper: after the last norm) or `logits`"""
    tolerance: float | None = None
    """stop early when the standard error of the ranking is at most this; null: use every prompt"""
    checkpointing: bool = False
    """recompute layers in the backward pass to save memory; automatic if the memory is too small otherwise"""
    seed: int = 0

    def __post_init__(self) -> None:
        expand_sites(self.sites)


@dataclass(frozen=True, config=_STRICT)
class SelectParams:
    """Settings of selection: the top p per cent of each layer (or of all layers together), and the seeds of the controls."""

    p: float = 3.0
    scope: Literal["layer", "global"] = "layer"
    sites: str | list[str] = "both"
    random_seeds: tuple[int, ...] = (0, 1, 2)
    sensitivity: tuple[float, ...] = (0.5, 1.0, 2.0, 3.0, 5.0, 10.0)
    """other values of p, whose sets are compared with the sets at `p`"""

    def __post_init__(self) -> None:
        expand_sites(self.sites)
        for name, p in (("p", self.p), *(("sensitivity", p) for p in self.sensitivity)):
            if not 0 < p <= 100:
                raise ParamsError(f"select.{name} must be a percentage in (0, 100], got {p:g}.")


@dataclass(frozen=True, config=_STRICT)
class ValidateParams:
    """Settings of causal validation: the sets and the operations on them."""

    sets: tuple[str, ...] = (*SETS, "random_0", "random_1", "random_2")
    ops: tuple[str, ...] = ("suppress", "scale:1.5", "scale:2", "scale:3")
    suppress_only: tuple[str, ...] = ()
    """sets that are only suppressed"""

    def ops_of(self, name: str) -> tuple[str, ...]:
        """The operations on a set."""
        return ("suppress",) if name in self.suppress_only else self.ops


@dataclass(frozen=True, config=_STRICT)
class TrainParams:
    """Settings of SS-Neuron expansion and of the training methods compared with it."""

    methods: tuple[str, ...] = ("ssn", "ms_hr", "random", "full")
    lr: float = 1e-3
    lr_full: float = 2e-4
    """learning rate of `full`, which trains every weight"""
    epochs: float = 3.0
    """number of passes over the pairs (paper: 3)"""
    steps: int | None = None
    """a fixed number of steps instead of epochs"""
    batch_size: int = 16
    pairs: int = 64
    """safety pairs per language"""
    replay: float = 1.0
    """benign pairs per safety pair; 0 trains on refusals only"""
    warmup_ratio: float = 0.03
    weight_decay: float = 0.0
    """must be 0 with a mask, because decay changes masked weights"""
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    """schedule of the learning rate after the warm-up"""
    max_length: int = 512
    leave_out: tuple[str, ...] = ()
    """languages whose pairs are left out of training"""
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("lr", "lr_full"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ParamsError(f"train.{name} must be a finite number above 0, got {value}.")
        for name in ("batch_size", "pairs", "max_length"):
            if getattr(self, name) < 1:
                raise ParamsError(f"train.{name} must be at least 1, got {getattr(self, name)}.")
        if not (math.isfinite(self.replay) and self.replay >= 0):
            raise ParamsError(f"train.replay must be a finite number, 0 or more, got {self.replay}.")
        if (self.steps is not None and self.steps < 1) or not (math.isfinite(self.epochs) and self.epochs > 0):
            raise ParamsError("train.steps must be at least 1, and train.epochs a finite number above 0.")
        for code in self.leave_out:
            language(code)


@dataclass(frozen=True, config=_STRICT)
class EvaluateParams:
    """Settings of evaluation with lm-evaluation-harness, on held-out prompts."""

    judge: str = "refusal"
    batch_size: int = 256
    max_new_tokens: int = 48
    limit: int | None = None
    """largest number of prompts per language and task"""
    capability: str | None = "organism_capability"
    """an lm-eval task or group that measures general capability, or null for none"""
    samples: bool = False
    """true: keep every prompt and reply in `artifacts/samples`, harmful ones included; false: keep only the verdicts"""


@dataclass(frozen=True, config=_STRICT)
class Params:
    """All of `params.yaml`."""

    model: str
    models: dict[str, dict[str, Any]]
    hr: str = "en"
    languages: tuple[str, ...] = ("en",)
    organism: dict[str, Any] | None = None
    prompts: PromptParams = PromptParams()
    score: ScoreParams = ScoreParams()
    select: SelectParams = SelectParams()
    targets: dict[str, Preset] = field(default_factory=dict)
    validate: ValidateParams = ValidateParams()
    methods: dict[str, Method] = field(default_factory=dict)
    """added to the table of `methods.py`"""
    train: TrainParams = TrainParams()
    evaluate: EvaluateParams = EvaluateParams()
    frontier: FrontierParams = FrontierParams()

    def __post_init__(self) -> None:
        for code in (*self.languages, self.hr):
            language(code)
        if self.hr not in self.languages:
            raise ParamsError(
                f"The high-resource language hr={self.hr} is not among languages={', '.join(self.languages)}; add it."
            )
        if len(self.languages) < 2:
            raise ParamsError(f"Shared neurons need a second language besides {self.hr}; add one to languages.")
        if self.model not in self.models:
            raise UnknownNameError("model key", self.model, self.models)
        for name, row in self.methods.items():
            methods.check(name, row)
        trained = (*self.train.methods, *self.frontier.methods)
        check_all(self.targets, self.nhr, self.validate.sets, trained, self.table)
        if any(presets.variant(name).leave_out for name in self.frontier.methods):
            raise ParamsError(
                "frontier.methods cannot leave a language out; use a row of frontier.scenarios with leave_out."
            )
        trained_langs = [code for code in self.languages if code not in self.train.leave_out]
        if not trained_langs:
            raise ParamsError("train.leave_out leaves out every language; remove at least one from it.")

    @property
    def table(self) -> dict[str, Method]:
        """Every training method by name: the built-in methods and those of `methods`."""
        return {**METHODS, **self.methods}

    def method(self, name: str) -> Method:
        """The training method of this name: a row of the table, a set, a preset or a control.

        Raises:
            UnknownNameError: there is no such method; the message suggests similar names.
        """
        return presets.method(name, self.targets, self.table)

    def training(self, name: str) -> TrainParams:
        """The settings of a training method: `train`, plus the language that the method's name leaves out."""
        left_out = presets.variant(name).leave_out
        return replace(self.train, leave_out=(*self.train.leave_out, left_out)) if left_out else self.train

    @property
    def nhr(self) -> tuple[str, ...]:
        """The languages other than HR, in the order of the file."""
        return tuple(code for code in self.languages if code != self.hr)


def load(path: Path) -> Params:
    """Read and check `params.yaml`.

    Raises:
        MissingInputError: there is no such file.
        ParamsError: invalid YAML, an unknown key (the message suggests similar ones), or a value of a wrong type.
        UnknownNameError: an unknown language, site or model key.
    """
    if not path.is_file():
        raise MissingInputError(
            f"No params file at {path}; run inside the pipeline's folder, or copy params.yaml there."
        )
    try:
        data = yaml.safe_load(files.read_text(path, "a params file"))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ParamsError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(data, Mapping):
        raise ParamsError(f"{path} holds no settings; expected a mapping with model, models and languages.")
    return build(Params, data, path.name)


def build(kind: type[T], data: Mapping[str, Any], where: str) -> T:
    """Validate a mapping as a frozen settings class.

    Raises:
        ParamsError: a key or value is wrong; the message names the first one and suggests similar keys.
    """
    known_names = {item.name for item in fields(kind)}  # type: ignore[arg-type]
    for key in data:
        if key not in known_names:
            raise ParamsError(f"{where}: {UnknownNameError('key', key, _keys(kind))}")
    try:
        return TypeAdapter(kind).validate_python(dict(data))
    except ValidationError as error:
        # a wrong key comes first, because it often explains a missing one
        first = min(error.errors(), key=lambda detail: detail["type"] not in _UNKNOWN)
        cause = first.get("ctx", {}).get("error")
        if isinstance(cause, ParamsError | UnknownNameError):
            raise cause from None
        place = ".".join(str(part) for part in first["loc"])
        if first["type"] in _UNKNOWN:
            inside = place.rpartition(".")[0]
            rows = {"targets": KEYS, "methods": [item.name for item in fields(Method)]}
            section = rows.get(place.partition(".")[0])
            known_names = [f"{inside}.{key}" for key in section] if section else _keys(kind)
            raise ParamsError(f"{where}: {UnknownNameError('key', place, known_names)}") from None
        raise ParamsError(f"{where}: {place or kind.__name__} is {first['input']!r}: {first['msg'].lower()}.") from None


def plain(settings: object) -> dict[str, Any]:
    """A settings object as JSON values."""
    return TypeAdapter(type(settings)).dump_python(settings, mode="json", by_alias=True)


def _keys(kind: type, prefix: str = "") -> Iterable[str]:
    """Every dotted key of a settings class."""
    for item in fields(kind):  # type: ignore[arg-type]
        yield prefix + item.name
        if is_dataclass(item.default):
            yield from _keys(type(item.default), f"{prefix}{item.name}.")
