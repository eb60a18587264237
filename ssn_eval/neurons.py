"""Neurons and sets of them, as plain values. No torch, no files.

A neuron is one coordinate of one site (METHOD: `N = (layer, site, index)`). The sites are the outputs of `q_proj`,
`k_proj` and `v_proj` (a neuron is a row of the weight), the input of `o_proj` (a column), and `mlp`, the MLP's
intermediate activation (row `i` of gate and up together with column `i` of down).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from ssn_eval.errors import EmptySetError, FormatError, MismatchError, UnknownNameError

ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
MLP = ("mlp",)
SITES = ATTENTION + MLP
SITE_GROUPS: Mapping[str, tuple[str, ...]] = {"attention": ATTENTION, "mlp": MLP, "both": SITES}

_KEY = re.compile(r"layers\.(\d+)\.([a-z_]+)")


class Neuron(NamedTuple):
    """One coordinate of one site."""

    layer: int
    site: str
    index: int


def expand_sites(names: str | Iterable[str]) -> tuple[str, ...]:
    """Turn `"both"`, `"attention"` or a list of site names into sites, in the canonical order.

    Raises:
        UnknownNameError: a name is neither a site nor a group of sites.
    """
    chosen: set[str] = set()
    for name in [names] if isinstance(names, str) else names:
        if name not in SITE_GROUPS and name not in SITES:
            raise UnknownNameError("site", name, [*SITES, *SITE_GROUPS])
        chosen.update(SITE_GROUPS.get(name, (name,)))
    if not chosen:
        raise EmptySetError("No site was asked for; name at least one of " + ", ".join(SITES) + ".")
    return tuple(s for s in SITES if s in chosen)


def site_key(layer: int, site: str) -> str:
    """The name of a site in every file: `layers.<i>.<site>`."""
    return f"layers.{layer}.{site}"


def parse_key(key: str) -> tuple[int, str]:
    """Read `layers.<i>.<site>`.

    Raises:
        FormatError: the text is not such a name.
    """
    match = _KEY.fullmatch(key)
    if not match or match[2] not in SITES:
        raise FormatError(
            f"{key!r} does not name a site; expected layers.<i>.<site> with a site of {', '.join(SITES)}."
        )
    return int(match[1]), match[2]


@dataclass(frozen=True)
class Geometry:
    """The shape of a model, as far as neurons are concerned: the width of every site of every layer."""

    widths: Mapping[str, int]
    """site key → number of neurons, in layer order and then in the order of `SITES`."""

    @property
    def num_layers(self) -> int:
        """Number of decoder layers."""
        return 1 + max((parse_key(key)[0] for key in self.widths), default=-1)

    def size(self, sites: Iterable[str] = SITES) -> int:
        """Number of candidate neurons over the given sites."""
        chosen = set(sites)
        return sum(width for key, width in self.widths.items() if parse_key(key)[1] in chosen)

    def check(self, neurons: Iterable[Neuron], what: str = "the neuron set") -> None:
        """Refuse neurons that the model does not have.

        Raises:
            MismatchError: names the first neuron that lies outside.
        """
        for neuron in neurons:
            width = self.widths.get(site_key(neuron.layer, neuron.site))
            if width is None or not 0 <= neuron.index < width:
                found = (
                    f"that site has {width} neurons" if width is not None else f"the model has {self.num_layers} layers"
                )
                raise MismatchError(
                    f"Neuron {neuron.index} of {site_key(neuron.layer, neuron.site)} in {what} does not exist in this "
                    f"model: {found}. Use a set identified on this model."
                )

    def to_json(self) -> dict[str, object]:
        """`{"layers": n, "sites": {site: width, or a list of widths by layer where they differ}}`."""
        by_site: dict[str, list[int]] = {}
        for key, width in self.widths.items():
            by_site.setdefault(parse_key(key)[1], []).append(width)
        sites = {site: w[0] if len(set(w)) == 1 else w for site, w in by_site.items()}
        return {"layers": self.num_layers, "sites": sites}

    @classmethod
    def from_json(cls, data: Mapping[str, object]) -> Geometry:
        """Read what `to_json` wrote.

        Raises:
            FormatError: the object has another form.
        """
        try:
            layers, sites = int(data["layers"]), dict(data["sites"])  # type: ignore[arg-type, call-overload]
            per_layer = {s: w if isinstance(w, list) else [w] * layers for s, w in sites.items()}
            widths = {site_key(i, s): int(per_layer[s][i]) for i in range(layers) for s in SITES if s in per_layer}
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise FormatError(f"Not a model geometry: {error!r}; expected {{'layers': n, 'sites': {{…}}}}.") from error
        return cls(widths)


@dataclass(frozen=True)
class NeuronSet:
    """A frozen set of neurons, with the set algebra of the method: `MS = S_jail - S_norm`, `SS = MS_l & MS_HR`."""

    members: frozenset[Neuron]

    @classmethod
    def of(cls, neurons: Iterable[tuple[int, str, int]]) -> NeuronSet:
        """Build a set from `(layer, site, index)` triples."""
        return cls(frozenset(Neuron(*n) for n in neurons))

    @classmethod
    def from_keys(cls, by_key: Mapping[str, Iterable[int]]) -> NeuronSet:
        """Build a set from `{"layers.<i>.<site>": [indices…]}`.

        Raises:
            FormatError: a key does not name a site.
        """
        return cls(frozenset(Neuron(*parse_key(key), int(i)) for key, indices in by_key.items() for i in indices))

    def by_key(self) -> dict[str, list[int]]:
        """Group into `{"layers.<i>.<site>": sorted indices}`, in layer order."""
        grouped: dict[str, list[int]] = {}
        for neuron in self:
            grouped.setdefault(site_key(neuron.layer, neuron.site), []).append(neuron.index)
        return grouped

    def __iter__(self) -> Iterator[Neuron]:
        """Iterate in a fixed order: layer, site (as in `SITES`), index."""
        return iter(sorted(self.members, key=lambda n: (n.layer, SITES.index(n.site), n.index)))

    def __len__(self) -> int:
        return len(self.members)

    def __contains__(self, neuron: object) -> bool:
        return neuron in self.members

    def __and__(self, other: NeuronSet) -> NeuronSet:
        return NeuronSet(self.members & other.members)

    def __or__(self, other: NeuronSet) -> NeuronSet:
        return NeuronSet(self.members | other.members)

    def __sub__(self, other: NeuronSet) -> NeuronSet:
        return NeuronSet(self.members - other.members)

    def jaccard(self, other: NeuronSet) -> float:
        """|A ∩ B| / |A ∪ B|; two empty sets are equal, so 1.0."""
        union = len(self.members | other.members)
        return len(self.members & other.members) / union if union else 1.0

    def per_layer(self) -> Counter[int]:
        """Number of neurons by layer."""
        return Counter(n.layer for n in self.members)

    def per_site(self) -> Counter[str]:
        """Number of neurons by site kind."""
        return Counter(n.site for n in self.members)

    def per_key(self) -> Counter[str]:
        """Number of neurons by site key."""
        return Counter(site_key(n.layer, n.site) for n in self.members)
