"""`params.yaml` as one frozen value; `settings.py` has its sections. Unknown keys and wrong types raise an error that suggests a key."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from ssn_eval.core import choices, files, methods, presets
from ssn_eval.core.errors import MissingInputError, ParamsError, UnknownNameError
from ssn_eval.core.languages import language
from ssn_eval.core.methods import METHODS, Method
from ssn_eval.core.presets import KEYS, Preset, check_all
from ssn_eval.core.settings import (
    ALONE,
    EvaluateParams,
    PromptParams,
    ScoreParams,
    SelectParams,
    TrainParams,
    ValidateParams,
)
from ssn_eval.core.sweep import FrontierParams

T = TypeVar("T")
_UNKNOWN = ("unexpected_keyword_argument", "extra_forbidden")

ORGANISM = "organism"
"""the key of the default model, which the first stage trains"""


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
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
    """added to those presets of `presets.py` that something asks for"""
    agreement: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """set (`ss` or `ms_hr`) → further rows of its agreement table (`core/choices.py`)"""
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
        asked = [presets.variant(name).method for name in trained]
        rows = (*self.methods.values(), *(self.table[name] for name in asked if name in self.table))
        names = (*self.validate.sets, *trained, *(row.set for row in rows if row.set))
        object.__setattr__(self, "targets", presets.with_built_in(self.targets, names))
        check_all(self.targets, self.nhr, self.validate.sets, trained, self.table)
        choices.check(self.agreement, ALONE, self.train.methods)
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
