"""Presets: named choices of neurons for training, as in the section `targets` of `params.yaml`, and their checks.

A preset starts from neuron sets (`from`), keeps the neurons that enough languages share (`tier` or `languages`, and `k`),
and of these the neurons in some sites and layers (METHOD.md, section 1; the paper targets neurons by language resources and
by architecture). `targets.py` computes the neurons. This module also defines which names `validate.sets` and `train.methods`
may hold (`methods.py` has the table). It needs no scores and no model.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Annotated, Any, NamedTuple

from pydantic import BeforeValidator, ConfigDict, Field, TypeAdapter
from pydantic.dataclasses import dataclass

from ssn_eval.core.errors import ParamsError, UnknownNameError
from ssn_eval.core.files import is_portable
from ssn_eval.core.languages import TIERS, language
from ssn_eval.core.methods import METHODS, Method
from ssn_eval.core.neurons import expand_sites
from ssn_eval.core.rules import CONTRASTS
from ssn_eval.core.setnames import DIRECTION, FAMILIES, SETS, SetName

SOURCES = ("ms_hr", *FAMILIES, *CONTRASTS)
"""the sets that a preset may start from; a rule stands for the shared neurons that it selects"""
KEYS = ("from", "tier", "languages", "k", "sites", "layers", "without_common", "pathway")
OF_HR = "hr"
"""in `pathway`: the high-resource language of the run"""

# the name of a preset is also a file name and part of the names of DVC stages
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
_WITHOUT = re.compile(r"(.+)\.without_([^.]+)")
# names of methods, and of the unchanged model, which lies beside them in results/evaluate
_RESERVED_NAMES = (*(name for name in METHODS if name not in SETS), "base", DIRECTION)

Names = Annotated[tuple[str, ...], BeforeValidator(lambda value: (value,) if isinstance(value, str) else value)]
"""one name or a list of names"""


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Preset:
    """One row of `targets`."""

    source: Names = Field(alias="from")
    """one or more of `SOURCES`; the preset starts from their union"""
    tier: Names = ()
    """count only NHR languages of these resource tiers"""
    languages: Names = ()
    """count only these NHR languages"""
    k: int | float | str = 1
    """a neuron counts if the sets of at least k languages hold it: a number, a share below 1 (rounded up), or all"""
    sites: Names = ("both",)
    layers: tuple[float, float] = (0.0, 1.0)
    """first and last layer as shares of depth, so that a preset fits models of any depth"""
    without_common: bool = False
    """leave out neurons that matter for every prompt"""
    pathway: Names = ()
    """keep only neurons on the safety pathway of each of these languages (`identification/pathway.py`); `hr` is the run's own. Only this
    needs the model and the training pairs, so such a preset is made only if something asks for it"""

    def counted(self, nhr: Iterable[str]) -> tuple[str, ...]:
        """The NHR languages whose sets the preset counts; possibly none."""
        codes = (code for code in nhr if not self.languages or code in self.languages)
        return tuple(code for code in codes if not self.tier or language(code).tier in self.tier)

    def needed(self, n: int) -> int:
        """The number of languages, out of `n`, whose sets must hold a neuron."""
        if isinstance(self.k, str):
            return n
        return math.ceil(self.k * n - 1e-9) if isinstance(self.k, float) else self.k  # .55 * 20 > 11 in floats

    def depth(self, num_layers: int) -> range:
        """The layers of the preset; [0, 0.5] and [0.5, 1] have no layer in common and together hold all layers."""
        first, last = (int(share * num_layers + 0.5) for share in self.layers)
        return range(first, last)

    def to_json(self) -> dict[str, Any]:
        """The preset as in `params.yaml`, without default values."""
        return TypeAdapter(Preset).dump_python(self, mode="json", by_alias=True, exclude_defaults=True)


PRESETS: Mapping[str, Preset] = MappingProxyType(
    TypeAdapter(dict[str, Preset]).validate_python(
        {
            "ss": {"from": "ss"},
            "ms_hr": {"from": "ms_hr"},
            "private": {"from": "private"},
            "ss_half": {"from": "ss", "k": 0.5},
            "ss_all": {"from": "ss", "k": "all"},
            "ss_lr": {"from": "ss", "tier": "LR"},
            "ss_lr_half": {"from": "ss", "tier": "LR", "k": 0.5},
            "ss_mr_lr": {"from": "ss", "tier": ["MR", "LR"]},
            "ms_lr_half": {"from": "ms", "tier": "LR", "k": 0.5},
            "ms_hr_or_lr": {"from": ["ms_hr", "ms"], "tier": "LR", "k": 0.5},
            "ss_attention": {"from": "ss", "sites": "attention"},
            "ss_mlp": {"from": "ss", "sites": "mlp"},
            "contrast": {"from": "contrast"},
            "contrast_fdr": {"from": "contrast_fdr"},
            "contrast_specific": {"from": "contrast", "without_common": True},
            "ss_late": {"from": "ss", "layers": [0.5, 1.0]},
            "pathway_hr": {"from": "ms_hr", "pathway": OF_HR},
        }
    )
)
"""the built-in presets, each made if something asks for it; the `params.yaml` of this repository says what each is for"""


class Variant(NamedTuple):
    """`<method>.without_<language>`: a training method, and a language that it does not train on."""

    method: str
    leave_out: str | None


def variant(name: str) -> Variant:
    """Parse the name of a training method; `leave_out` is None if the method leaves no language out."""
    match = _WITHOUT.fullmatch(name)
    return Variant(match[1], match[2]) if match else Variant(name, None)


def with_built_in(presets: Mapping[str, Preset], names: Iterable[str]) -> dict[str, Preset]:
    """The presets, and those built-in ones that are asked for.

    Args:
        presets: the rows of `targets`; a row replaces the built-in preset of its name.
        names: of sets and training methods.
    """
    bases = (SetName.parse(variant(name).method).base for name in names)
    return {**{name: PRESETS[name] for name in bases if name in PRESETS and name not in SETS}, **presets}


def check_all(
    presets: Mapping[str, Preset],
    nhr: Sequence[str],
    sets: Iterable[str],
    methods: Iterable[str],
    table: Mapping[str, Method] = METHODS,
) -> None:
    """Check `targets`, `validate.sets`, `methods` and `train.methods` before anything is computed.

    Raises:
        ParamsError, UnknownNameError: as in `check`, `check_set` and `method`; a row of the table has the name of a preset or
            trains an unknown set; or a used preset counts languages of a tier that this run does not have.
    """
    for name, preset in presets.items():
        check(name, preset, nhr)
        if name in table and name not in SETS:
            raise ParamsError(f"{name} is both a preset in targets and a row of methods; rename one of them.")
    for row in table.values():
        if row.set:
            check_set(row.set, {**PRESETS, **presets})
    methods = tuple(methods)
    trained = [
        trained_method.set for trained_method in (method(n, presets, table) for n in methods) if trained_method.set
    ]
    for name in methods:
        left_out = variant(name).leave_out
        if left_out is not None and language(left_out).code not in nhr:
            raise ParamsError(f"{name} leaves out {left_out}, but the languages beside HR are {', '.join(nhr)}.")
    for name in [*(check_set(n, presets) for n in sets), *trained]:
        preset = presets.get(SetName.parse(name).base)
        if preset and not preset.counted(nhr):
            raise ParamsError(no_language(name, preset, nhr))


def no_language(name: str, preset: Preset, nhr: Sequence[str]) -> str:
    """The error message for a preset that counts languages of a tier that the run does not have."""
    return (
        f"targets.{name} counts the languages of tier {', '.join(preset.tier)}, but the languages beside HR are "
        f"{', '.join(nhr)}; add one of that tier to languages, or choose another preset."
    )


def check(name: str, preset: Preset, nhr: Sequence[str]) -> None:
    """Check one preset. A tier without a language in this run is allowed here.

    Args:
        name: the key of the preset in `targets`.
        preset: the values of the preset.
        nhr: the run's languages other than HR.

    Raises:
        UnknownNameError: a set, tier, language or site does not exist.
        ParamsError: the name is reserved; k or layers are out of range; or keys do not fit together.
    """
    where = f"targets.{name}"
    if not _NAME.fullmatch(name) or name in _RESERVED_NAMES or SetName.parse(name).is_control or not is_portable(name):
        reserved = f"{', '.join(_RESERVED_NAMES)}, random_<seed> and the device names of Windows"
        raise ParamsError(
            f"{where}: a preset cannot be called {name!r}; use letters, digits, _ and -, with a letter first. Reserved names: {reserved}."
        )
    if name in SETS and preset.to_json() != {"from": [name]}:
        raise ParamsError(
            f"{where} must stay {{from: {name}}}, the set that select writes; give a changed preset another name."
        )
    for kind, names, known_names in (("from", preset.source, SOURCES), ("tier", preset.tier, TIERS)):
        for value in names:
            if value not in known_names:
                raise UnknownNameError(f"{'set' if kind == 'from' else kind} in {where}.{kind}", value, known_names)
    for code in preset.languages:
        if language(code).code not in nhr:
            raise ParamsError(f"{where} counts the language {code}, but the languages beside HR are {', '.join(nhr)}.")
    for code in preset.pathway:
        if code != OF_HR and language(code).code not in nhr:
            raise ParamsError(
                f"{where}.pathway names the language {code}; expected {OF_HR}, or one of the languages beside HR: {', '.join(nhr)}."
            )
    expand_sites(preset.sites)
    low, high = preset.layers
    if not 0 <= low < high <= 1:
        raise ParamsError(
            f"{where}.layers is [{low:g}, {high:g}]; expected two rising shares of depth from 0 to 1, such as [0.5, 1.0]."
        )
    _check_counting(where, preset, nhr)


def _check_counting(where: str, preset: Preset, nhr: Sequence[str]) -> None:
    """Check that `tier`, `languages` and `k` fit together, fit `from`, and fit the languages of the run."""
    if not preset.source:
        raise ParamsError(f"{where}.from names no set; choose one or more of {', '.join(SOURCES)}.")
    counts = bool(preset.tier or preset.languages) or preset.k != 1
    by_language = FAMILIES if preset.k != 1 else (*FAMILIES, *CONTRASTS)
    if counts and not set(by_language) & set(preset.source):
        raise ParamsError(
            f"{where} starts from {', '.join(preset.source)}, which is one set, but tier, languages and k count sets by "
            f"language: start from {', '.join(FAMILIES)}, or leave them out."
        )
    if preset.tier and preset.languages:
        raise ParamsError(f"{where} has both tier and languages; keep one of the two.")
    k, n = preset.k, len(preset.counted(nhr))
    if not (k == "all" if isinstance(k, str) else 0 < k < 1 if isinstance(k, float) else k >= 1):
        raise ParamsError(f"{where}.k is {k}; expected a whole number from 1, a share between 0 and 1, or all.")
    if n and preset.needed(n) > n:
        raise ParamsError(
            f"{where}.k is {preset.k}, but it counts only {n} {'language' if n == 1 else 'languages'} "
            f"({', '.join(preset.counted(nhr))}); lower k, write a share such as 0.5, or add languages."
        )


def check_set(name: str, presets: Mapping[str, Preset]) -> str:
    """Check the name of a neuron set and return it: a named set, a preset, a control, or `<family>/<language>`.

    Raises:
        UnknownNameError: there is no such set; the message suggests similar names.
    """
    known_names = (*SETS, *presets)
    family, _, code = name.partition("/")
    if family in FAMILIES and code:
        language(code)
    elif SetName.parse(name).of not in known_names:
        raise UnknownNameError(
            "set", name, {"random_0", *(f"{n}{end}" for n in (*known_names, *PRESETS) for end in ("", ".random_0"))}
        )
    return name


def method(name: str, presets: Mapping[str, Preset], table: Mapping[str, Method] = METHODS) -> Method:
    """The training method of this name: a row of the table, or training of a named set, a preset or a control.

    `variant` gives the language that the method leaves out.

    Raises:
        UnknownNameError: there is no such method; the message suggests similar names.
    """
    name = variant(name).method
    known_names = (*SETS, *presets)
    if name in table:
        return table[name]
    if SetName.parse(name).base in known_names:
        return Method(name)
    raise UnknownNameError("training method", name, {*table, *known_names, *PRESETS})
