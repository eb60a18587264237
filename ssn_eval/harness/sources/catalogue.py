"""The benchmarks by name."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from ssn_eval.core.errors import UnknownNameError
from ssn_eval.harness.sources.advbench_x import ADVBENCH_X
from ssn_eval.harness.sources.aya_redteaming import AYA_REDTEAMING
from ssn_eval.harness.sources.csrt import CSRT
from ssn_eval.harness.sources.multijail import MULTIJAIL
from ssn_eval.harness.sources.polyrefuse import POLYREFUSE
from ssn_eval.harness.sources.source import Source
from ssn_eval.harness.sources.xsafety import XSAFETY
from ssn_eval.harness.sources.xstest import XSTEST

SOURCES: Mapping[str, Source] = MappingProxyType(
    {s.name: s for s in (MULTIJAIL, ADVBENCH_X, XSAFETY, POLYREFUSE, AYA_REDTEAMING, CSRT, XSTEST)}
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
