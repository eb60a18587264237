"""A project's `params.yaml`: the settings that its user may want to change, each with the help text of its class.

Every other setting has the default of `core/settings.py`. What a stage of the pipeline depends on must be in the file, because
DVC refuses a dependency on a setting that the file does not have.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import Any

import yaml

from ssn_eval.core import files
from ssn_eval.core.params import ORGANISM
from ssn_eval.core.settings import EvaluateParams, PromptParams, ScoreParams, SelectParams, TrainParams, ValidateParams

SECTIONS: Mapping[str, tuple[type, tuple[str, ...]]] = {
    "prompts": (PromptParams, ("harmful", "harmless", "heldout", "limit", "replay_tokens")),
    "score": (ScoreParams, ("method", "sites", "prompts", "probes", "batch_size")),
    "select": (SelectParams, ("p",)),
    "validate": (ValidateParams, ("sets", "ops", "suppress_only")),
    "train": (TrainParams, ("methods", "epochs", "pairs", "replay", "lr", "batch_size")),
    "evaluate": (
        EvaluateParams,
        ("judge", "batch_size", "max_new_tokens", "limit", "capability", "samples", "engine", "engine_args"),
    ),
}
"""section → its class, and the settings that the file shows"""
COMMON = {"score": {"prompts": 64}}
"""values of every project that are not the defaults, as in this repository's `params.yaml`"""
OF_A_REAL_MODEL = {
    "train": {"methods": ("ssn", "ms_hr", "random")},  # `full` needs memory for every weight and its optimizer
    "evaluate": {"batch_size": 16, "capability": None},
}
FRONTIER_OF_A_REAL_MODEL = [
    "  methods: [ssn, ms_hr, random] # each is trained once for every scenario, seed, draw and factor",
    "  seeds: [0] # more seeds and factors make the comparison firmer and longer",
    "  draws: 1 # of random",
    "  lr_factors: [1] # learning rates, as multiples of the method's own",
    "  steps: [8, 32] # a run is measured after so many steps",
]
_NOT_A_WORD = re.compile(r"\W+")
_ORGANISM_WEIGHTS = "artifacts/model/weights"
"""where the first stage writes them"""
_COLUMNS = 100
"""longer lines have their explanation above them"""


@dataclass(frozen=True)
class Choice:
    """What the user of `ssn init` chose."""

    model: Mapping[str, Any]
    """the model description, as `ModelSpec.to_json` writes it; of the organism, `{"pretrained": "organism"}`"""
    languages: Sequence[str]
    hr: str
    harmful: str = PromptParams.harmful
    harmless: str = PromptParams.harmless

    @property
    def is_organism(self) -> bool:
        """Whether the model is the embedded default model."""
        return dict(self.model) == {"pretrained": ORGANISM}

    @property
    def name(self) -> str:
        """The model's name for people: a hub id, or the last part of a path."""
        name = str(self.model.get("pretrained") or self.model.get("package"))
        return files.portable(name)

    @property
    def key(self) -> str:
        """The name of the model in `models`: the last part of its path or id, in letters, digits and `_`."""
        if self.is_organism:
            return ORGANISM
        key = _NOT_A_WORD.sub("_", Path(self.name).name.lower()).strip("_")
        return key if key[:1].isalpha() and key.isascii() and key != ORGANISM else "mine"


def text_of(choice: Choice) -> str:
    """The text of the file."""
    model = {"pretrained": _ORGANISM_WEIGHTS, "dtype": "float32"} if choice.is_organism else dict(choice.model)
    lines = [
        "# The settings of this project; `dvc repro` runs what a change touches. `dvc exp run -S select.p=1` changes one for a run;",
        "# for a setting that is not here write -S '+score.seed=1'. All settings: the sections of `ssn_eval/core/settings.py`.",
        f"model: {choice.key} # a key of `models`",
        "models: # a hub id (with its revision) or a folder; dtype auto: as in the checkpoint",
        f"  {choice.key}: {_flow(model)}",
        f"hr: {_flow(choice.hr)} # the high-resource reference language, one of `languages`",
        f"languages: {_flow(list(choice.languages))}",
        "organism: { seed: 0 } # the recipe of the embedded model; no other model reads it",
    ]
    exceptions = _exceptions(choice)
    for section, (kind, names) in SECTIONS.items():
        lines += ["", f"{section}:"]
        for name in names:
            field: Any = kind.__dataclass_fields__[name]
            default = field.default if field.default_factory is MISSING else field.default_factory()
            value = exceptions.get(section, {}).get(name, default)
            lines += _line(name, value, field.metadata["help"])
    lines += [
        "",
        "targets: {} # more neuron sets for validate.sets and train.methods, such as mine: { from: ss, tier: LR, k: 0.5 }",
        "methods: {} # more training methods for train.methods, such as mine: { set: ss, loss: dpo }",
        "agreement: {} # more rows of the agreement table, such as ss: [effect_size@activation, pathway]; they cost passes of the model",
    ]
    return "\n".join([*lines, *_frontier(choice)]) + "\n"


def _frontier(choice: Choice) -> list[str]:
    """The section of `ssn frontier`; a real model gets a small plan, because every cell is a training run."""
    nhr = [code for code in choice.languages if code != choice.hr]
    scenarios: dict[str, dict[str, Any]] = {"replay": {}}
    if choice.is_organism:
        scenarios |= {"refusals_only": {"replay": 0}, "few": {"pairs": 4}}
    scenarios |= {f"leave_out_{code}": {"leave_out": code} for code in nhr[-1:]}
    lines = [
        "",
        "frontier: # `ssn frontier`; `select` makes the sets that it names",
        "  scenarios: # what differs from `train`",
    ]
    lines += [f"    {name}: {_flow(values)}" for name, values in scenarios.items()]
    return lines if choice.is_organism else lines + FRONTIER_OF_A_REAL_MODEL


def _exceptions(choice: Choice) -> dict[str, dict[str, Any]]:
    """Section → setting → its value, where that is not the default."""
    values: dict[str, dict[str, Any]] = {section: dict(settings) for section, settings in COMMON.items()}
    if choice.is_organism:
        return values
    for section, settings in OF_A_REAL_MODEL.items():
        values.setdefault(section, {}).update(settings)
    return values | {"prompts": {"harmful": choice.harmful, "harmless": choice.harmless}}


def _line(name: str, value: Any, explanation: str) -> list[str]:
    """A setting with its explanation, behind it or, if that is long, above it."""
    setting = f"  {name}: {_flow(list(value) if isinstance(value, tuple) else value)}"
    line = f"{setting} # {explanation}"
    return [line] if len(line) <= _COLUMNS else [f"  # {explanation}", setting]


def _flow(value: Any) -> str:
    """A value in one line of YAML."""
    return (
        yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, sort_keys=False, width=10**6)
        .strip()
        .removesuffix("\n...")
    )
