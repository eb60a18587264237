"""Measure a pathway on a model: the activations of a set's neurons over responses, and how far they fall when another is held."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import torch

from ssn_eval.core.errors import EmptySetError
from ssn_eval.core.neurons import Neuron, NeuronSet, site_key
from ssn_eval.core.progress import progress
from ssn_eval.identification import pathway
from ssn_eval.identification.pathway import SOURCE, Edge, Thresholds
from ssn_eval.identification.watching import watching
from ssn_eval.models.architectures.resolving import decoder, resolve
from ssn_eval.models.architectures.sites import Site
from ssn_eval.models.batches import Padded, cut
from ssn_eval.models.loading import Loaded
from ssn_eval.prompts.encoding import context_length, encode, subsample
from ssn_eval.prompts.pairs import Pair
from ssn_eval.prompts.prompt import LABELS, Prompt

if TYPE_CHECKING:
    from transformers import PreTrainedModel

SAMPLES, RANDOM = 50, 20
"""of propagation: harmful samples, and random neurons of a layer (the source's numbers)"""


class Samples:
    """Prompts with their responses, as padded batches of a model."""

    def __init__(self, loaded: Loaded, prompts: Sequence[Prompt], batch_size: int) -> None:
        """Encode them.

        Raises:
            EmptySetError: a prompt has no response, or there is no prompt.
        """
        if not prompts or any(not p.response for p in prompts):
            raise EmptySetError(
                "A pathway is measured over responses: give prompts whose rows all have `response`, harmful ones with refusals."
            )
        encoded = encode(
            loaded.tokenizer, [p.prompt for p in prompts], context_length(loaded.model), [p.response for p in prompts]
        )
        spans = [(first, len(ids)) for first, ids in zip(encoded.prompt_lengths or [], encoded.ids, strict=True)]
        self.model: PreTrainedModel = loaded.model
        self._padded = Padded(encoded.ids, spans, self.model.device)
        self._batches = cut(range(len(encoded.ids)), self._padded.lengths, batch_size)

    def means(self, neurons: Sequence[Neuron]) -> np.ndarray:
        """The activation of every neuron, averaged over each response, (samples, neurons), float64."""
        keys = {site_key(neuron.layer, neuron.site) for neuron in neurons}
        sites = {key: site for key, site in resolve(self.model).items() if key in keys}
        values = np.zeros((len(self._padded.lengths), len(neurons)))
        current: dict[str, torch.Tensor] = {}
        with torch.no_grad(), watching(sites, current):
            for rows in self._batches:
                current.clear()  # an expert that no token reaches is not called: its activation is 0
                batch = self._padded(rows)
                decoder(self.model)(input_ids=batch.input_ids, attention_mask=batch.attention_mask, use_cache=False)
                for at, (row, (first, end)) in enumerate(zip(rows, batch.spans, strict=True)):
                    means = {key: a[at, first:end].double().mean(0).cpu().numpy() for key, a in current.items()}
                    values[row] = [
                        means[key][n.index] if (key := site_key(n.layer, n.site)) in means else 0.0 for n in neurons
                    ]
        return values


def co_activating(
    loaded: Loaded,
    neurons: NeuronSet,
    harmful: Sequence[Prompt],
    harmless: Sequence[Prompt],
    *,
    thresholds: Thresholds = SOURCE,
    batch_size: int = 8,
    seed: int = 0,
) -> list[Edge]:
    """The edges of co-activation of a set (`pathway.co_activation`).

    Raises:
        EmptySetError: a prompt has no response, or a label has fewer than two.
        MismatchError: a neuron lies outside the model.
    """
    loaded.ref.geometry.check(neurons)
    ordered = sorted(neurons.members)
    on_harmful, on_harmless = (Samples(loaded, part, batch_size).means(ordered) for part in (harmful, harmless))
    return pathway.co_activation(ordered, on_harmful, on_harmless, thresholds, seed)


def on_pathways(
    loaded: Loaded,
    neurons: NeuronSet,
    pairs: Sequence[Pair],
    langs: Sequence[str],
    *,
    limit: int | None,
    batch_size: int = 8,
    seed: int = 0,
) -> NeuronSet:
    """The neurons of a set that lie on the pathway of each language, by co-activation.

    Args:
        loaded: the model.
        neurons: the set.
        pairs: training pairs: the refusals of harmful prompts, and the answers to harmless ones.
        langs: codes.
        limit: the largest number of pairs of each language and label, drawn at random; None for all.
        batch_size: pairs in one forward pass.
        seed: of that draw, and of the permutations.

    Raises:
        EmptySetError: there are fewer than two pairs of a language and label.
        MismatchError: a neuron lies outside the model.
    """
    kept = neurons
    for lang in langs:
        harmful, harmless = (
            subsample(
                [
                    Prompt(p.id, p.lang, label, p.prompt, response=p.response)
                    for p in pairs
                    if (p.lang, p.label) == (lang, label)
                ],
                limit,
                seed,
            )
            for label in LABELS
        )
        if min(len(harmful), len(harmless)) < 2:
            raise EmptySetError(
                f"The pathway of {lang} needs two training pairs or more of each label, and there are {len(harmful)} harmful and "
                f"{len(harmless)} harmless ones; use a larger train.replay, or leave {lang} out of the preset."
            )
        edges = co_activating(loaded, neurons, harmful, harmless, batch_size=batch_size, seed=seed)
        kept = kept & pathway.endpoints(edges)
    return kept


def propagating(
    loaded: Loaded,
    neurons: NeuronSet,
    harmful: Sequence[Prompt],
    harmless: Sequence[Prompt],
    *,
    thresholds: Thresholds = SOURCE,
    batch_size: int = 8,
    seed: int = 0,
) -> list[Edge]:
    """The edges of propagation of a set (`pathway.propagates`); one pass over the samples for each neuron, and for 20 random ones a layer and site.

    Raises:
        EmptySetError, MismatchError: as `co_activating`.
    """
    loaded.ref.geometry.check(neurons)
    ordered = sorted(neurons.members)
    generator = np.random.default_rng(seed)
    samples, ordinary = Samples(loaded, harmful[:SAMPLES], batch_size), Samples(loaded, harmless, batch_size)
    edges: list[Edge] = []
    pairs = list(pathway.neighbours(ordered))
    with progress("holding neurons", sum(len(first) + RANDOM for first, _ in pairs)) as advance:
        for first, second in pairs:
            of_layer, of_next = [ordered[i] for i in first], [ordered[j] for j in second]
            controls = _random(loaded, neurons, of_layer, generator)
            held = ordinary.means([*of_layer, *controls]).mean(0)
            plain = samples.means(of_next)
            falls = []
            for neuron, value in zip([*of_layer, *controls], held, strict=True):
                with _held(loaded.model, neuron, float(value)):
                    falls.append((plain - samples.means(of_next)).mean(0))
                advance()
            count = len(of_layer)
            kept = pathway.propagates(
                np.stack(falls[:count]), np.stack(falls[count:]), np.abs(plain).mean(0), thresholds
            )
            edges += [(of_layer[i], of_next[j]) for i, j in np.argwhere(kept)]
    return edges


def _random(
    loaded: Loaded, neurons: NeuronSet, of_layer: Sequence[Neuron], generator: np.random.Generator
) -> list[Neuron]:
    """Random neurons of a layer outside the set, at the sites where the layer's neurons of the set lie."""
    layer, sites = of_layer[0].layer, sorted({neuron.site for neuron in of_layer})
    candidates = [
        neuron
        for site in sites
        for index in range(loaded.ref.geometry.widths[site_key(layer, site)])
        if (neuron := Neuron(layer, site, index)) not in neurons.members
    ]
    chosen = generator.choice(len(candidates), size=min(RANDOM, len(candidates)), replace=False)
    return [candidates[i] for i in sorted(chosen.tolist())]


@contextmanager
def _held(model: PreTrainedModel, neuron: Neuron, value: float) -> Iterator[None]:
    """In the body, the neuron has the given activation at every token."""
    site: Site = resolve(model)[site_key(neuron.layer, neuron.site)]

    def hold(activation: torch.Tensor) -> torch.Tensor:
        changed = activation.clone()
        changed[..., neuron.index] = value
        return changed

    handle = site.hook(hold)
    try:
        yield
    finally:
        handle.remove()
