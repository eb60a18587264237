"""What a set of neurons owns of a model's weights: rows or columns, of whole weights and of the experts in a stack."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from ssn_eval.core.neurons import NeuronSet, parse_key, site_kind
from ssn_eval.models.architectures import experts
from ssn_eval.models.architectures.layouts import Side
from ssn_eval.models.architectures.sites import Site, is_transposed

if TYPE_CHECKING:
    from torch import nn

Clusters = Mapping[str, Sequence[Sequence[int]]]
"""site key → its neurons, in groups"""


class Slice(NamedTuple):
    """Rows or columns of one weight."""

    module: str
    """full name of the module, without PEFT's prefix"""
    parameter: str
    """name of the weight in the module"""
    side: Side
    """`output`: rows of the weight as (out, in); `input`: columns"""
    positions: Mapping[int | None, list[int]]
    """expert → its rows or columns, sorted; a weight that is no stack has the one key None"""
    updates: Mapping[int | None, list[int]] | None = None
    """expert → the number of the update of each of these rows or columns, which several of them may share; None: each has its own"""

    @property
    def name(self) -> str:
        """Full name of the weight."""
        return f"{self.module}.{self.parameter}"

    @property
    def is_stack(self) -> bool:
        """Whether the weight holds all experts of a layer, (experts, …, …)."""
        return None not in self.positions

    @property
    def rank(self) -> int:
        """The most rows or columns that one matrix has, or the most updates where they share them."""
        if self.updates is not None:
            return max(max(numbers) + 1 for numbers in self.updates.values())
        return max(map(len, self.positions.values()))

    def numbers(self, expert: int | None) -> list[int]:
        """The number of the update of each row or column of an expert."""
        return list(range(len(self.positions[expert]))) if self.updates is None else list(self.updates[expert])

    def axis(self, module: nn.Module) -> int:
        """The axis of the stored weight along which the rows or columns are counted: −2 or −1."""
        stored = experts.is_transposed(module) if self.is_stack else is_transposed(module)
        return -2 if (self.side == "output") != stored else -1


def slices(sites: Mapping[str, Site], neurons: NeuronSet) -> list[Slice]:
    """What a set owns, one entry for each weight and side.

    Args:
        sites: the model's, by site key.
        neurons: the set, inside these sites.
    """
    positions: dict[tuple[str, str, Side], dict[int | None, set[int]]] = {}
    for key, indices in neurons.by_key().items():
        for owned in sites[key].owned:
            of_weight = positions.setdefault((owned.name, owned.parameter, owned.side), {})
            of_weight.setdefault(owned.expert, set()).update(owned.of(indices))
    return [Slice(*place, {e: sorted(p) for e, p in found.items()}) for place, found in positions.items()]


def tied(sites: Mapping[str, Site], clusters: Clusters) -> list[Slice]:
    """What clusters of neurons own, with one update for each cluster, one entry for each weight and side.

    Of an MLP neuron only the rows that feed it are taken, not its column of the down projection (NeST, arXiv 2602.16835).

    Args:
        sites: the model's, by site key.
        clusters: of neurons inside these sites; each neuron is in one cluster.
    """
    updates: dict[tuple[str, str, Side], dict[int | None, dict[int, int]]] = {}
    for key, groups in clusters.items():
        is_mlp = site_kind(parse_key(key)[1]) == "mlp"
        for owned in sites[key].owned:
            if is_mlp and owned.side == "input":
                continue
            of_weight = updates.setdefault((owned.name, owned.parameter, owned.side), {})
            numbers = of_weight.setdefault(owned.expert, {})
            first = max(numbers.values(), default=-1) + 1
            numbers |= {at: first + number for number, group in enumerate(groups) for at in owned.of(group)}
    return [
        Slice(
            *place,
            {expert: sorted(numbers) for expert, numbers in found.items()},
            {expert: [numbers[at] for at in sorted(numbers)] for expert, numbers in found.items()},
        )
        for place, found in updates.items()
    ]
