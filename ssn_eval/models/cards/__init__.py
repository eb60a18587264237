"""Cards: the README of an adapter, a checkpoint or a neuron set, written from what the file itself records."""
