"""Clusters of neurons with similar activation profiles, which share one update (NeST, arXiv 2602.16835).

The profile of a neuron is its largest activation over the tokens of each training prompt, of every label and language, less its mean over the
prompts and divided by their standard deviation. k-means groups the profiles of one layer and site; the number of clusters is the one with the largest
mean silhouette, from 2 to the row's `clusters`.

The source clusters MLP neurons by "activation profile" with k-means and a silhouette score. How it normalises a profile, and its number of clusters, were not
to be had: accounts of its first version contradict each other. Both are choices of this project.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ssn_eval.core.methods import Method
from ssn_eval.core.neurons import NeuronSet
from ssn_eval.core.progress import progress
from ssn_eval.core.settings import TrainParams
from ssn_eval.models.architectures.slices import Clusters
from ssn_eval.prompts.pairs import Pair

if TYPE_CHECKING:
    from ssn_eval.models.loading import Loaded

AT_ONCE = 16
"""prompts in one forward pass"""


def of_method(
    loaded: Loaded, method: Method, neurons: NeuronSet | None, pairs: Sequence[Pair], settings: TrainParams
) -> Clusters | None:
    """The clusters of a method's neurons, from the prompts that it is trained on; None for a method without clusters.

    Raises:
        MismatchError: a neuron lies outside the model.
    """
    if method.weights != "tied" or not neurons:
        return None
    loaded.ref.geometry.check(neurons)
    prompts = list(dict.fromkeys(pair.prompt for pair in pairs))
    return {
        key: grouped(indices, values, method.clusters, settings.seed)
        for (key, indices), values in zip(
            neurons.by_key().items(), profiles(loaded, neurons, prompts).values(), strict=True
        )
    }


def grouped(indices: Sequence[int], values: np.ndarray, largest: int, seed: int) -> list[list[int]]:
    """The neurons of one site in clusters of similar profiles.

    Args:
        indices: of the neurons, (n,).
        values: their profiles, (n, prompts).
        largest: the largest number of clusters.
        seed: of k-means.

    Returns:
        The clusters, ordered by their first neuron; one cluster if there are fewer than three neurons, or no two different profiles.
    """
    from sklearn.cluster import KMeans
    from sklearn.metrics import silhouette_score

    centred = values - values.mean(1, keepdims=True)
    deviation = centred.std(1, keepdims=True)
    normal = np.divide(centred, deviation, out=np.zeros_like(centred), where=deviation > 0)
    most = min(largest, len(indices) - 1, len(np.unique(normal, axis=0)))
    best, labels = -np.inf, np.zeros(len(indices), dtype=int)
    for count in range(2, most + 1):
        found = KMeans(count, n_init=10, random_state=seed).fit_predict(normal)  # type: ignore[arg-type]
        score = silhouette_score(normal, found)
        if score > best:
            best, labels = score, found
    clusters: dict[int, list[int]] = {}
    for index, label in zip(indices, labels.tolist(), strict=True):
        clusters.setdefault(label, []).append(index)
    return list(clusters.values())


def profiles(loaded: Loaded, neurons: NeuronSet, prompts: Sequence[str]) -> dict[str, np.ndarray]:
    """Site key → the largest activation of each of its neurons over the tokens of each prompt, (neurons, prompts), float64."""
    import torch

    from ssn_eval.identification.watching import watching
    from ssn_eval.models.architectures.resolving import decoder, resolve
    from ssn_eval.models.batches import Padded, cut
    from ssn_eval.prompts.encoding import context_length, encode

    by_key = neurons.by_key()
    sites = {key: site for key, site in resolve(loaded.model).items() if key in by_key}
    ids = encode(loaded.tokenizer, list(prompts), context_length(loaded.model)).ids
    padded = Padded(ids, [(0, len(i)) for i in ids], loaded.model.device)
    values = {key: np.zeros((len(indices), len(ids))) for key, indices in by_key.items()}
    current: dict[str, torch.Tensor] = {}
    with torch.no_grad(), watching(sites, current), progress("reading prompts", len(ids)) as advance:
        for rows in cut(range(len(ids)), padded.lengths, AT_ONCE):
            current.clear()  # an expert that no token reaches is not called: its activation is 0
            batch = padded(rows)
            decoder(loaded.model)(input_ids=batch.input_ids, attention_mask=batch.attention_mask, use_cache=False)
            for at, (row, (first, end)) in enumerate(zip(rows, batch.spans, strict=True)):
                for key, activation in current.items():
                    values[key][:, row] = activation[at, first:end].double().amax(0)[by_key[key]].cpu().numpy()
            advance(len(rows))
    return values
