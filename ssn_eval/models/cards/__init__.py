"""Cards: the README of an adapter, a checkpoint or a neuron set, written from the facts that the file itself records."""
