"""Presets: which neurons a training method may train, as named in `params.yaml` under `targets`. Values and their checks.

A preset starts from sets of neurons (`from`), keeps those that enough languages have (`tier` or `languages`, and `k`), and
of these the ones in some sites and layers (METHOD.md, section 1; the paper's strategy is to target by language resources and
by architecture). `targets.py` makes the neurons. This module also knows which names `validate.sets` and `train.methods` may
hold and what they mean (`methods.py` has the table); it knows no scores and no model.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, NamedTuple

from pydantic import BeforeValidator, ConfigDict, Field, TypeAdapter
from pydantic.dataclasses import dataclass

from ssn_eval.core.errors import ParamsError, UnknownNameError
from ssn_eval.core.files import is_portable
from ssn_eval.core.languages import TIERS, language
from ssn_eval.core.methods import METHODS, Method
from ssn_eval.core.neurons import expand_sites

SETS = ("ms_hr", "ss", "private")
"""the named sets that `select` always makes, beside the per-language ones and the random controls of SS"""
FAMILIES = ("ms", "ss", "private")
"""sets of every NHR language: MS_l, SS_l = MS_l & MS_HR, MS_l - MS_HR"""
SOURCES = ("ms_hr", *FAMILIES)
"""what a preset may start from"""
KEYS = ("from", "tier", "languages", "k", "sites", "layers")

# a preset's name becomes a file name and a part of DVC stages' names
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
_RANDOM = re.compile(r"random_\d+")
_CONTROL = re.compile(r"([^.]+)\.random_(\d+)")
_WITHOUT = re.compile(r"(.+)\.without_([^.]+)")
# methods, and the unchanged model, which stands beside them in results/evaluate
_TAKEN = (*(name for name in METHODS if name not in SETS), "base")

Names = Annotated[tuple[str, ...], BeforeValidator(lambda value: (value,) if isinstance(value, str) else value)]
"""one name or a list of names"""


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Preset:
    """One line of `targets`."""

    source: Names = Field(alias="from")
    """of `SOURCES`; several are united"""
    tier: Names = ()
    """count only the NHR languages of these resource tiers"""
    languages: Names = ()
    """count only these NHR languages"""
    k: int | float | str = 1
    """a neuron counts if the sets of at least k languages hold it: a number, a share below 1 (rounded up), or all"""
    sites: Names = ("both",)
    layers: tuple[float, float] = (0.0, 1.0)
    """from and to, as shares of depth, so that one preset fits models of any depth"""

    def counted(self, nhr: Iterable[str]) -> tuple[str, ...]:
        """Those of a run's NHR languages whose sets count; may be none."""
        chosen = (code for code in nhr if not self.languages or code in self.languages)
        return tuple(code for code in chosen if not self.tier or language(code).tier in self.tier)

    def needed(self, n: int) -> int:
        """In how many of `n` languages' sets a neuron has to be."""
        if isinstance(self.k, str):
            return n
        return math.ceil(self.k * n - 1e-9) if isinstance(self.k, float) else self.k  # .55 * 20 > 11 in floats

    def depth(self, num_layers: int) -> range:
        """The layers that are meant; ranges that meet, such as [0, 0.5] and [0.5, 1], share none and leave none out."""
        first, last = (int(share * num_layers + 0.5) for share in self.layers)
        return range(first, last)

    def to_json(self) -> dict[str, Any]:
        """As it may stand in `params.yaml`, defaults left out."""
        return TypeAdapter(Preset).dump_python(self, mode="json", by_alias=True, exclude_defaults=True)


class Control(NamedTuple):
    """`<set>.random_<seed>`: a matched random control of a named set."""

    of: str
    seed: int


def control(name: str) -> Control | None:
    """Read `<set>.random_<seed>`; None for every other name."""
    match = _CONTROL.fullmatch(name)
    return Control(match[1], int(match[2])) if match else None


class Variant(NamedTuple):
    """`<method>.without_<language>`: a training method, and a language whose pairs it is not given."""

    method: str
    leave_out: str | None


def variant(name: str) -> Variant:
    """Read the name of a training method; most leave no language out."""
    match = _WITHOUT.fullmatch(name)
    return Variant(match[1], match[2]) if match else Variant(name, None)


def may_be_missing(name: str) -> bool:
    """Whether a set may be empty or absent without a mistake: what `select` makes unasked, and the controls of SS."""
    return name in SETS or "/" in name or _RANDOM.fullmatch(name) is not None


def check_all(
    presets: Mapping[str, Preset],
    nhr: Sequence[str],
    sets: Iterable[str],
    methods: Iterable[str],
    table: Mapping[str, Method] = METHODS,
) -> None:
    """Refuse what cannot be meant in `targets`, `validate.sets`, `methods` and `train.methods`, before anything is computed.

    Raises:
        ParamsError, UnknownNameError: as `check`, `check_set` and `method`; a row of the table is called like a preset or trains
            no known set; or a preset is asked for that counts languages of a tier of which this run has none.
    """
    for name, preset in presets.items():
        check(name, preset, nhr)
        if name in table and name not in SETS:
            raise ParamsError(f"{name} is both a preset in targets and a row of methods; call one of them otherwise.")
    for row in table.values():
        if row.set:
            check_set(row.set, presets)
    methods = tuple(methods)
    trained = [found.set for found in (method(n, presets, table) for n in methods) if found.set]
    for name in methods:
        left = variant(name).leave_out
        if left is not None and language(left).code not in nhr:
            raise ParamsError(f"{name} leaves out {left}, but the languages beside HR are {', '.join(nhr)}.")
    for name in [*(check_set(n, presets) for n in sets), *trained]:
        preset = presets.get((control(name) or Control(name, 0)).of)
        if preset and not preset.counted(nhr):
            raise ParamsError(no_language(name, preset, nhr))


def no_language(name: str, preset: Preset, nhr: Sequence[str]) -> str:
    """The sentence for a preset that counts languages of a tier of which a run has none."""
    return (
        f"targets.{name} counts the languages of tier {', '.join(preset.tier)}, but the languages beside HR are "
        f"{', '.join(nhr)}; add one of that tier to languages, or choose another preset."
    )


def check(name: str, preset: Preset, nhr: Sequence[str]) -> None:
    """Refuse a preset that no model could fulfil. A tier without a language in this run is no mistake of the preset's.

    Args:
        name: its key in `targets`.
        preset: its values.
        nhr: the run's languages other than HR.

    Raises:
        UnknownNameError: of a set, tier, language or site.
        ParamsError: a name that is taken; k or layers out of range; keys that do not go together.
    """
    here = f"targets.{name}"
    if not _NAME.fullmatch(name) or name in _TAKEN or _RANDOM.fullmatch(name) or not is_portable(name):
        rule = f"letters, digits, _ and -, first a letter, and neither {', '.join(_TAKEN)}, random_<seed> nor a device of Windows"
        raise ParamsError(f"{here}: a preset cannot be called {name!r}; its name may have {rule}.")
    if name in SETS and preset.to_json() != {"from": [name]}:
        raise ParamsError(
            f"{here} must stay {{from: {name}}}, the set that select makes; call a changed preset otherwise."
        )
    for kind, named, known in (("from", preset.source, SOURCES), ("tier", preset.tier, TIERS)):
        for value in named:
            if value not in known:
                raise UnknownNameError(f"{'set' if kind == 'from' else kind} in {here}.{kind}", value, known)
    for code in preset.languages:
        if language(code).code not in nhr:
            raise ParamsError(f"{here} counts the language {code}, but the languages beside HR are {', '.join(nhr)}.")
    expand_sites(preset.sites)
    low, high = preset.layers
    if not 0 <= low < high <= 1:
        raise ParamsError(
            f"{here}.layers is [{low:g}, {high:g}], but takes two rising shares of depth from 0 to 1, such as [0.5, 1.0]."
        )
    _check_counting(here, preset, nhr)


def _check_counting(here: str, preset: Preset, nhr: Sequence[str]) -> None:
    """Whether `tier`, `languages` and `k` go together, with `from`, and with the run's languages."""
    if not preset.source:
        raise ParamsError(f"{here}.from names no set; choose of {', '.join(SOURCES)}.")
    counts = bool(preset.tier or preset.languages) or preset.k != 1
    if counts and not set(FAMILIES) & set(preset.source):
        raise ParamsError(
            f"{here} starts from {', '.join(preset.source)}, which is one set, but tier, languages and k count sets by "
            f"language: start from {', '.join(FAMILIES)}, or leave them out."
        )
    if preset.tier and preset.languages:
        raise ParamsError(f"{here} has both tier and languages; keep one of the two.")
    k, n = preset.k, len(preset.counted(nhr))
    if not (k == "all" if isinstance(k, str) else 0 < k < 1 if isinstance(k, float) else k >= 1):
        raise ParamsError(f"{here}.k is {k}, but takes a whole number from 1, a share between 0 and 1, or all.")
    if n and preset.needed(n) > n:
        raise ParamsError(
            f"{here}.k is {preset.k}, but it counts only {n} {'language' if n == 1 else 'languages'} "
            f"({', '.join(preset.counted(nhr))}); lower k, write a share such as 0.5, or add languages."
        )


def check_set(name: str, presets: Mapping[str, Preset]) -> str:
    """The name of a set that `select` makes: a named set, a preset, a control, or `<family>/<language>`.

    Raises:
        UnknownNameError: it is none; near names are suggested.
    """
    found, known = control(name), (*SETS, *presets)
    family, _, code = name.partition("/")
    if family in FAMILIES and code:
        language(code)
    elif not (name in known or _RANDOM.fullmatch(name) or (found and found.of in known)):
        raise UnknownNameError("set", name, [*known, "random_0", *(f"{one}.random_0" for one in known)])
    return name


def method(name: str, presets: Mapping[str, Preset], table: Mapping[str, Method] = METHODS) -> Method:
    """What a training method means: a row of the table, or the neurons of a named set, a preset or a control.

    Which language it leaves out is not said here but by `variant`.

    Raises:
        UnknownNameError: it is none; near names are suggested.
    """
    name = variant(name).method
    found, known = control(name), (*SETS, *presets)
    if name in table:
        return table[name]
    if name in known or (found and found.of in known):
        return Method(name)
    raise UnknownNameError("training method", name, dict.fromkeys([*table, *known]))
