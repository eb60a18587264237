"""Neurons and neuron sets as plain values, without torch and without files.

A neuron is one coordinate of one site (METHOD: `N = (layer, site, index)`). The sites are the outputs of `q_proj`,
`k_proj` and `v_proj` (a neuron is a row of the weight), the input of `o_proj` (a column), and `mlp`, the MLP's
intermediate activation (row `i` of gate and up together with column `i` of down). A layer with routed experts has one
MLP site per expert, `mlp.<e>`; where sites are chosen, `mlp` includes all of them. A layer in which attention and a recurrence
run side by side has a second output projection, `o_proj.1`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from ssn_eval.core.errors import EmptySetError, FormatError, MismatchError, UnknownNameError

ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
MLP = ("mlp",)
SITES = ATTENTION + MLP
SITE_GROUPS: Mapping[str, tuple[str, ...]] = {"attention": ATTENTION, "mlp": MLP, "both": SITES}

_KEY = re.compile(r"layers\.(\d{1,6})\.([a-z_]+(?:\.\d{1,6})?)", re.ASCII)
_EXPERT = re.compile(r"mlp\.(0|[1-9]\d*)", re.ASCII)
_FURTHER = re.compile(r"o_proj\.([1-9]\d*)", re.ASCII)
_LARGEST_COUNT = 1_000_000
"""the largest number of sites of a model, and of neurons of a site, that is accepted from a file"""


class Neuron(NamedTuple):
    """One coordinate of one site."""

    layer: int
    site: str
    index: int  # pyright: ignore[reportIncompatibleMethodOverride]  # a field that hides a method of tuple


def expert_site(expert: int) -> str:
    """The MLP site of one routed expert: `mlp.<e>`."""
    return f"mlp.{expert}"


def site_kind(site: str) -> str:
    """The member of `SITES` that a site belongs to; `mlp` for every expert, `o_proj` for a second output projection."""
    if _FURTHER.fullmatch(site):
        return "o_proj"
    return "mlp" if _EXPERT.fullmatch(site) else site


def site_order(site: str) -> tuple[int, int]:
    """Sort key of a site: the order of `SITES`, then the number of the expert."""
    kind = site_kind(site)
    return SITES.index(kind), -1 if site == kind else int(site.rpartition(".")[2])


def is_among(site: str, chosen: Iterable[str]) -> bool:
    """Whether `chosen` holds a site, by its own name or by its kind."""
    names = tuple(chosen)
    return site in names or site_kind(site) in names


def expand_sites(names: str | Iterable[str]) -> tuple[str, ...]:
    """Convert `"both"`, `"attention"` or a list of site names into sites, in the order of `SITES`.

    In a model with experts, `mlp` stands for all of them, and `mlp.<e>` for one.

    Raises:
        UnknownNameError: a name is neither a site nor a group of sites.
        EmptySetError: there is no name.
    """
    sites: set[str] = set()
    for name in [names] if isinstance(names, str) else names:
        if name not in SITE_GROUPS and site_kind(name) not in SITES:
            raise UnknownNameError("site", name, [*SITES, *SITE_GROUPS])
        sites.update(SITE_GROUPS.get(name, (name,)))
    if not sites:
        raise EmptySetError("No site was asked for; name at least one of " + ", ".join(SITES) + ".")
    return tuple(sorted(sites, key=site_order))


def site_key(layer: int, site: str) -> str:
    """The name of a site in every file: `layers.<i>.<site>`."""
    return f"layers.{layer}.{site}"


def parse_key(key: str) -> tuple[int, str]:
    """Split `layers.<i>.<site>` into layer and site.

    Raises:
        FormatError: the text is not the name of a site.
    """
    match = _KEY.fullmatch(key)
    if not match or site_kind(match[2]) not in SITES:
        raise FormatError(
            f"{key!r} does not name a site; expected layers.<i>.<site> with a site of {', '.join(SITES)} or mlp.<expert>."
        )
    return int(match[1]), match[2]


@dataclass(frozen=True)
class Geometry:
    """The shape of a model: the width of every site of every layer."""

    widths: Mapping[str, int]
    """site key → number of neurons, in layer order and then in the order of `SITES`."""

    @property
    def num_layers(self) -> int:
        """Number of decoder layers."""
        return 1 + max((parse_key(key)[0] for key in self.widths), default=-1)

    def size(self, sites: Iterable[str] = SITES) -> int:
        """Number of candidate neurons over the given sites."""
        names = tuple(sites)
        return sum(width for key, width in self.widths.items() if is_among(parse_key(key)[1], names))

    def check(self, neurons: Iterable[Neuron], what: str = "the neuron set") -> None:
        """Check that the model has all of these neurons.

        Raises:
            MismatchError: a neuron lies outside the model; the message names the first one.
        """
        for neuron in neurons:
            width = self.widths.get(site_key(neuron.layer, neuron.site))
            if width is None or not 0 <= neuron.index < width:
                shape = (
                    f"that site has {width} neurons" if width is not None else f"the model has {self.num_layers} layers"
                )
                raise MismatchError(
                    f"Neuron {neuron.index} of {site_key(neuron.layer, neuron.site)} in {what} does not exist in this "
                    f"model: {shape}. Use a set identified on this model."
                )

    def to_json(self) -> dict[str, object]:
        """`{"layers": n, "sites": {site: entry, or a list of entries by layer where they differ}}`.

        An entry is the width, `{"experts": e, "width": w}` for the `mlp` of a layer with routed experts (and `"dense": w` if it
        also has a dense MLP), or `null` in a layer that lacks the site.

        Raises:
            FormatError: the experts of a layer are not numbered from 0 without gaps, or have different widths.
        """
        by_site: dict[str, list[object]] = {}
        for layer, widths in enumerate(self._by_layer()):
            experts = {site: width for site, width in widths.items() if _EXPERT.fullmatch(site)}
            entries: dict[str, object] = {site: width for site, width in widths.items() if site not in experts}
            if experts:
                if set(experts) != set(map(expert_site, range(len(experts)))) or len(set(experts.values())) > 1:
                    raise FormatError(f"The experts of layer {layer} must be numbered from 0 on and equally wide.")
                dense = {"dense": widths["mlp"]} if "mlp" in widths else {}
                entries["mlp"] = {"experts": len(experts), "width": experts[expert_site(0)], **dense}
            for site, entry in entries.items():
                by_site.setdefault(site, [None] * self.num_layers)[layer] = entry
        sites = {
            site: by_layer[0] if by_layer.count(by_layer[0]) == len(by_layer) else by_layer
            for site, by_layer in by_site.items()
        }
        return {"layers": self.num_layers, "sites": sites}

    @classmethod
    def from_json(cls, data: Mapping[str, object]) -> Geometry:
        """Read what `to_json` wrote.

        Raises:
            FormatError: the object has another form.
        """
        try:
            layers, widths = _count(data["layers"]), {}
            sites: dict[str, Any] = dict(data["sites"])  # type: ignore[arg-type, call-overload]
            for layer in range(layers):
                for site in sorted((s for s in sites if site_kind(s) in SITES), key=site_order):
                    entry = sites[site][layer] if isinstance(sites[site], list) else sites[site]
                    if isinstance(entry, Mapping):
                        if "dense" in entry:
                            widths[site_key(layer, site)] = _count(entry["dense"])
                        width, experts = _count(entry["width"]), _count(entry["experts"])
                        widths |= {site_key(layer, expert_site(e)): width for e in range(experts)}
                    elif entry is not None:
                        widths[site_key(layer, site)] = _count(entry)
                    if len(widths) > _LARGEST_COUNT:
                        raise ValueError(f"more than {_LARGEST_COUNT} sites")
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise FormatError(f"Not a model geometry: {error!r}; expected {{'layers': n, 'sites': {{…}}}}.") from error
        return cls(widths)

    def _by_layer(self) -> list[dict[str, int]]:
        """Per layer, site → width."""
        layers: list[dict[str, int]] = [{} for _ in range(self.num_layers)]
        for key, width in self.widths.items():
            layer, site = parse_key(key)
            layers[layer][site] = width
        return layers


def _count(value: object) -> int:
    """Check a number of layers, experts or neurons from a file, and return it."""
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _LARGEST_COUNT:
        raise ValueError(f"{str(value)[:40]} is no number of layers, experts or neurons")
    return value


@dataclass(frozen=True)
class NeuronSet:
    """A frozen set of neurons with the set operations of the method: `MS = S_jail - S_norm`, `SS = MS_l & MS_HR`."""

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
        indices_by_key: dict[str, list[int]] = {}
        for neuron in self:
            indices_by_key.setdefault(site_key(neuron.layer, neuron.site), []).append(neuron.index)
        return indices_by_key

    def __iter__(self) -> Iterator[Neuron]:
        """Iterate in a fixed order: layer, site (as in `SITES`), index."""
        return iter(sorted(self.members, key=lambda n: (n.layer, site_order(n.site), n.index)))

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
        """`|A ∩ B| / |A ∪ B|`; 1.0 for two empty sets."""
        union = len(self.members | other.members)
        return len(self.members & other.members) / union if union else 1.0

    def per_layer(self) -> Counter[int]:
        """Number of neurons by layer."""
        return Counter(n.layer for n in self.members)

    def per_site(self) -> Counter[str]:
        """Number of neurons by site kind; all experts count as `mlp`."""
        return Counter(site_kind(n.site) for n in self.members)

    def per_key(self) -> Counter[str]:
        """Number of neurons by layer and site kind, `layers.<i>.<kind>`; all experts of a layer count as its `mlp`."""
        return Counter(site_key(n.layer, site_kind(n.site)) for n in self.members)
