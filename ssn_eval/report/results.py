"""The result files of the pipeline as values."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ssn_eval.core import files
from ssn_eval.core.errors import FormatError, MissingInputError
from ssn_eval.core.languages import language
from ssn_eval.core.presets import variant
from ssn_eval.core.setnames import DIRECTION, SetName
from ssn_eval.report.condition import Condition

SELECT_KEYS = ("hr", "languages", "sizes", "named", "per_key", "jaccard", "sensitivity", "candidates")
"""the keys of `select.json` that a report needs"""
_METHODS = {"ssn": "SS", "ms_hr": "MS of HR", "full": "all weights"}


@dataclass(frozen=True)
class Results:
    """All results of a run."""

    select: Mapping[str, Any]
    base: Condition
    trained: Mapping[str, Condition]
    """method → condition"""
    left_out: Mapping[str, Mapping[str, Condition]]
    """method → language left out of training → condition"""
    interventions: Mapping[str, Mapping[str, Condition]]
    """set → op → condition, ops by rising factor"""
    training: Mapping[str, Mapping[str, Any]]
    """method → {"trainable", "parameters", "loss", "leave_out"}"""
    tags: Mapping[str, Sequence[str]]
    """prompt id → its kinds of harm, if the benchmark has them"""
    provenance: Mapping[str, Any]
    untrained: Mapping[str, str] = field(default_factory=dict)
    """method whose set of neurons is empty → a sentence that says so"""
    directions: Mapping[str, Mapping[str, Condition]] = field(default_factory=dict)
    """the refusal direction and its random controls (`direction.random_<n>`) → op → condition, as far as they were measured"""
    agreement: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """`ss` or `ms_hr` → how far the rules and scorers agree (`identification.agreement`), as far as it was compared"""

    @property
    def hr(self) -> str:
        """The high-resource reference language."""
        return self.select["hr"]

    @property
    def nhr(self) -> tuple[str, ...]:
        """The languages other than HR, in the order of the params."""
        return tuple(lang for lang in self.select["languages"] if lang != self.hr)

    @property
    def languages(self) -> tuple[str, ...]:
        """All languages, HR first."""
        return (self.hr, *self.nhr)

    @property
    def model_name(self) -> str:
        """The id of the model, or its key in the params if the id is a folder of the pipeline."""
        model_id = str((self.select.get("model") or {}).get("id") or "a model without a name")
        key = (self.select.get("provenance") or {}).get("model_key")
        return str(key) if key and model_id.startswith("artifacts/") else model_id

    @property
    def hardened(self) -> Condition | None:
        """The trained variant in the headline: SS, else MS of HR, else the first variant that is not a control; None if there is none."""
        names = [n for n in self.trained if "random" not in n]
        return self.trained[names[0]] if names else None

    @property
    def trained_controls(self) -> list[Condition]:
        """The variants with the same training of random neurons."""
        return [c for name, c in self.trained.items() if "random" in name]

    @property
    def stability(self) -> Mapping[str, Any] | None:
        """The stability over two halves of the prompts; None if the score stage did not measure it."""
        return self.select.get("stability")

    def tier(self, lang: str) -> str:
        """The resource tier of a language."""
        return language(lang).tier

    def controls(self, name: str, op: str = "suppress") -> dict[str, Condition]:
        """The matched random controls of a set, or of the direction, under an op: `<set>.random_<n>`, and also `random_<n>` for SS."""
        interventions = {**self.interventions, **self.directions}
        names = {n: SetName.parse(n) for n in interventions}
        conditions = {n: interventions[n].get(op) for n, s in names.items() if s.is_control and s.of == name}
        return {n: condition for n, condition in conditions.items() if condition}

    @property
    def main(self) -> Mapping[str, Mapping[str, Condition]]:
        """The interventions of the main comparison: all except sets of single languages and names with a dot."""
        return {n: ops for n, ops in self.interventions.items() if not SetName.parse(n).language and "." not in n}

    @property
    def randoms(self) -> dict[str, Condition]:
        """Random control of SS → the condition in which it is suppressed."""
        return self.controls("ss")

    def rows(self) -> Iterator[Condition]:
        """Every condition: the main comparison, then the other interventions, then training with a language left out."""
        yield from self.main_rows()
        main = self.main
        yield from (
            ops["suppress"] for name, ops in self.interventions.items() if name not in main and "suppress" in ops
        )
        yield from (c for name, ops in self.directions.items() if name != DIRECTION for c in ops.values())
        for by_lang in self.left_out.values():
            yield from by_lang.values()

    def main_rows(self) -> Iterator[Condition]:
        """The main comparison: base, each set suppressed, amplified SS, the refusal direction, trained variants."""
        yield self.base
        yield from (ops["suppress"] for ops in self.main.values() if "suppress" in ops)
        yield from (c for op, c in self.interventions.get("ss", {}).items() if op != "suppress")
        yield from self.directions.get(DIRECTION, {}).values()
        yield from self.trained.values()


def factor(op: str) -> float:
    """The number that an op multiplies its neurons by: 0 for `suppress`, 1 for `none`, the number after `scale:`.

    Raises:
        ValueError: there is no such op.
    """
    return {"suppress": 0.0, "none": 1.0}[op] if op in ("suppress", "none") else float(op.removeprefix("scale:"))


def locate(run: Path) -> Path:
    """The folder of results of a run: the folder itself, or the folder `results` in it."""
    inside = run / "results"
    return inside if not (run / "select.json").is_file() and inside.is_dir() else run


def read(
    folder: Path,
    sets: Collection[str] | None = None,
    methods: Collection[str] | None = None,
    compared: Collection[str] | None = None,
) -> Results:
    """Read `select.json` and every `.json` below `evaluate`, `validate`, `train` and `agreement`.

    Args:
        folder: the folder of results.
        sets: the sets to read; files of other sets are left over from earlier params. None: all sets.
        methods: the training methods to read, in the same way.
        compared: the sets of the section `agreement`, in the same way.

    Raises:
        MissingInputError: `select.json` or `evaluate/base.json` is missing; every other file is optional.
        FormatError: a file is damaged or incomplete.
    """
    for name in ("select.json", "evaluate/base.json"):
        if not (folder / name).is_file():
            raise MissingInputError(f"No finished results in {folder.as_posix()}: {name} is missing; run `dvc repro`.")
    select = files.read_json(folder / "select.json", "the summary of `select`")
    absent = [key for key in SELECT_KEYS if not isinstance(select, dict) or key not in select]
    if absent:
        raise FormatError(f"{(folder / 'select.json').as_posix()} lacks {', '.join(absent)}; run `dvc repro`.")
    evaluated = _selected(
        _folder(folder / "evaluate", "an evaluation"), None if methods is None else {"base", *methods}
    )
    validated = _selected(_folder(folder / "validate", "a validation"), sets)
    trainings = _selected(_folder(folder / "train", "a training summary"), methods)
    tables = _selected(_folder(folder / "agreement", "an agreement table"), compared)
    try:
        agreement = {"ss": select["agreement"]} if select.get("agreement") else {}
        agreement |= {name: {key: table[key] for key in ("rows", "pairs")} for name, table in tables.items()}
        base = _condition("base", "base", evaluated["base"])
        methods = sorted(evaluated.keys() - {"base"}, key=_place)
        conditions = {
            name: _condition(f"train {name}", f"trained {method_label(name)}", evaluated[name]) for name in methods
        }
        trained = {name: c for name, c in conditions.items() if not variant(name).leave_out}
        left_out: dict[str, dict[str, Condition]] = {}
        for name in conditions.keys() - trained.keys():
            method, lang = variant(name)
            left_out.setdefault(method, {})[str(lang)] = conditions[name]
        left_out = {
            m: {lang: by_lang[lang] for lang in select["languages"] if lang in by_lang}
            for m, by_lang in left_out.items()
        }
        interventions = {
            name: _ops(name, validated[name]["conditions"])
            for name in sorted(validated, key=_place)
            if not _is_direction(name)
        }
        directions = {
            name: _direction_ops(name, validated[name]["conditions"])
            for name in sorted(validated)
            if _is_direction(name)
        }
        keys = ("trainable", "parameters", "loss")
        untrained = {name: str(found["untrained"]) for name, found in trainings.items() if "untrained" in found}
        trainings = {name: found for name, found in trainings.items() if name not in untrained}
        training = {
            name: {key: trainings[name][key] for key in keys} | {"leave_out": trainings[name].get("leave_out", [])}
            for name in sorted(trainings, key=_place)
        }
        tags = {str(i): list(map(str, kinds)) for i, kinds in (evaluated["base"].get("tags") or {}).items()}
        provenance = {"evaluate": evaluated["base"].get("provenance"), "select": select.get("provenance")}
        model = {"model": select.get("model"), "evaluated": evaluated["base"].get("model")}
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise FormatError(f"A file in {folder.as_posix()} is not complete: {error!r}; run `dvc repro`.") from error
    return Results(
        select,
        base,
        trained,
        left_out,
        interventions,
        training,
        tags,
        model | {"provenance": provenance},
        untrained,
        directions,
        agreement,
    )


def _folder(folder: Path, what: str) -> dict[str, Any]:
    """Name → content of every JSON file below a folder; a name such as `ms/th` includes the subfolder."""
    paths = {path.relative_to(folder).as_posix().removesuffix(".json"): path for path in folder.rglob("*.json")}
    return {name: files.read_json(path, what) for name, path in sorted(paths.items())}


def _selected(contents: dict[str, Any], names: Collection[str] | None) -> dict[str, Any]:
    return contents if names is None else {name: value for name, value in contents.items() if name in names}


def _condition(name: str, label: str, data: Mapping[str, Any]) -> Condition:
    by_lang = {lang: dict(counts) for lang, counts in data["by_lang"].items()}
    verdicts = {lang: dict(v) for lang, v in data.get("verdicts", {}).items()}
    return Condition(name, label, by_lang, verdicts, dict(data.get("judge") or {}), dict(data.get("ability") or {}))


def _ops(name: str, conditions: Mapping[str, Any]) -> dict[str, Condition]:
    label = SetName.parse(name).label
    labels = {op: f"{label} suppressed" if op == "suppress" else f"{label} × {factor(op):g}" for op in conditions}
    return {op: _condition(f"{op} {name}", labels[op], conditions[op]) for op in sorted(conditions, key=factor)}


def _is_direction(name: str) -> bool:
    return SetName.parse(name).base == DIRECTION


def _direction_ops(name: str, conditions: Mapping[str, Any]) -> dict[str, Condition]:
    seed = SetName.parse(name).seed
    label = "refusal direction" if seed is None else f"random direction {seed}"
    return {op: _condition(f"{op} {name}", f"{label}, {op_words(op)}", conditions[op]) for op in sorted(conditions)}


def op_words(op: str) -> str:
    """What an op of a direction does, for readers: `direction:add:1` → `added × 1`."""
    strength = op.removeprefix(f"{DIRECTION}:add:")
    return "ablated" if op == f"{DIRECTION}:ablate" else f"added × {float(strength):g}"


def method_label(method: str) -> str:
    """The name of a training method for readers: `ssn.without_th` → `SS without th`."""
    name, left_out = variant(method)
    return f"{_METHODS.get(name, name.replace('_', ' '))}{f' without {left_out}' if left_out else ''}"


def _place(name: str) -> tuple[int, str]:
    """Sort key of sets and methods: SS, the other safety sets, all others, and `full` last."""
    order = ("ss", "ssn", "ms_hr", "private")
    return (order.index(name) if name in order else len(order) + (name == "full"), name)
