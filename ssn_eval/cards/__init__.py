"""Cards: the README.md of an adapter, a checkpoint or a neuron set, filled in with everything that its own file says of it."""

from ssn_eval.cards.neurons import of_neurons
from ssn_eval.cards.weights import of_weights

__all__ = ["of_neurons", "of_weights"]
