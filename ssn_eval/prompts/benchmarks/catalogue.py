"""The benchmarks by name, and one set of refusals to train on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from ssn_eval.core.errors import UnknownNameError
from ssn_eval.prompts.benchmarks.advbench_x import ADVBENCH_X
from ssn_eval.prompts.benchmarks.aya_redteaming import AYA_REDTEAMING
from ssn_eval.prompts.benchmarks.csrt import CSRT
from ssn_eval.prompts.benchmarks.instructions import HARMBENCH, JBB_HARMFUL, OKTEST, ORBENCH_HARD, STRONGREJECT
from ssn_eval.prompts.benchmarks.jbb_benign import JBB_BENIGN
from ssn_eval.prompts.benchmarks.linguasafe import LINGUASAFE
from ssn_eval.prompts.benchmarks.multijail import MULTIJAIL
from ssn_eval.prompts.benchmarks.polyrefuse import POLYREFUSE
from ssn_eval.prompts.benchmarks.safety_pathways import SAFETY_PATHWAYS
from ssn_eval.prompts.benchmarks.source import Source
from ssn_eval.prompts.benchmarks.xsafety import XSAFETY
from ssn_eval.prompts.benchmarks.xstest import XSTEST

SOURCES: Mapping[str, Source] = MappingProxyType(
    {
        s.name: s
        for s in (
            *(MULTIJAIL, ADVBENCH_X, XSAFETY, POLYREFUSE, AYA_REDTEAMING, CSRT, LINGUASAFE),
            *(JBB_HARMFUL, HARMBENCH, STRONGREJECT, XSTEST, JBB_BENIGN, ORBENCH_HARD, OKTEST),
            SAFETY_PATHWAYS,
        )
    }
)


def source(name: str) -> Source:
    """Look a benchmark up.

    Raises:
        UnknownNameError: there is none of this name.
    """
    try:
        return SOURCES[name]
    except KeyError:
        raise UnknownNameError("benchmark", name, SOURCES) from None


def source_of_copy(path: Path) -> Source | None:
    """The benchmark whose own form a file or folder has, by its name; None for the project's own JSONL.

    A CSV of another name is read as MultiJail's, a folder of another name as PolyRefuse's.
    """
    by_name = next((source for source in SOURCES.values() if source.local == path.name), None)
    if by_name:
        return by_name
    return POLYREFUSE if path.is_dir() else MULTIJAIL if path.suffix == ".csv" else None
