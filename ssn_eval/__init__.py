"""Find, test and train the cross-lingual shared safety neurons of language models.

`from ssn_eval import identify, intervene, …`: docs/reference/python.md lists the names. A name is imported when it is first used;
importing this package loads nothing else.
"""

TYPE_CHECKING = (
    False  # as typing's, whose import would slow every start of Python down (the start-up shim imports this package)
)

if TYPE_CHECKING:
    from typing import Any

    from ssn_eval.core.errors import SsnError as SsnError
    from ssn_eval.core.neurons import NeuronSet as NeuronSet
    from ssn_eval.core.settings import EvaluateParams as EvaluateParams
    from ssn_eval.core.settings import ScoreParams as ScoreParams
    from ssn_eval.core.settings import SelectParams as SelectParams
    from ssn_eval.core.settings import TrainParams as TrainParams
    from ssn_eval.core.store import NeuronFile as NeuronFile
    from ssn_eval.core.store import load_neurons as load_neurons
    from ssn_eval.core.store import load_scores as load_scores
    from ssn_eval.core.store import save_neurons as save_neurons
    from ssn_eval.core.store import save_scores as save_scores
    from ssn_eval.harness.evaluate import evaluate as evaluate
    from ssn_eval.identification.identify import identify as identify
    from ssn_eval.identification.selection import matched_random as matched_random
    from ssn_eval.identification.selection import ms as ms
    from ssn_eval.identification.selection import private as private
    from ssn_eval.identification.selection import shared as shared
    from ssn_eval.identification.single import LanguageScores as LanguageScores
    from ssn_eval.identification.single import select_one as select_one
    from ssn_eval.interventions.hooks import intervene as intervene
    from ssn_eval.judges.registry import judge as judge
    from ssn_eval.judges.verdict import Exchange as Exchange
    from ssn_eval.models.generation import generate as generate
    from ssn_eval.models.loading import load_model as load_model
    from ssn_eval.prompts.making import make_pairs as make_pairs
    from ssn_eval.prompts.prompt import Prompt as Prompt
    from ssn_eval.prompts.reading import read_prompts as read_prompts
    from ssn_eval.training.adapters.folder import load_adapter as load_adapter
    from ssn_eval.training.run import train as train

_HOMES = {
    "core.errors": ("SsnError",),
    "core.neurons": ("NeuronSet",),
    "core.settings": ("EvaluateParams", "ScoreParams", "SelectParams", "TrainParams"),
    "core.store": ("NeuronFile", "load_neurons", "load_scores", "save_neurons", "save_scores"),
    "harness.evaluate": ("evaluate",),
    "identification.identify": ("identify",),
    "identification.selection": ("matched_random", "ms", "private", "shared"),
    "identification.single": ("LanguageScores", "select_one"),
    "interventions.hooks": ("intervene",),
    "judges.registry": ("judge",),
    "judges.verdict": ("Exchange",),
    "models.generation": ("generate",),
    "models.loading": ("load_model",),
    "prompts.making": ("make_pairs",),
    "prompts.prompt": ("Prompt",),
    "prompts.reading": ("read_prompts",),
    "training.adapters.folder": ("load_adapter",),
    "training.run": ("train",),
}
"""module → the public names that it holds"""
_MODULES = {name: module for module, names in _HOMES.items() for name in names}

__all__ = sorted(_MODULES)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> "Any":
    from importlib import import_module

    if name not in _MODULES:
        raise AttributeError(f"module 'ssn_eval' has no attribute {name!r}")
    value = getattr(import_module(f"ssn_eval.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> "list[str]":
    return sorted({*globals(), *__all__})
