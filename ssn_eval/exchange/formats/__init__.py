"""Neuron sets in the file formats of other tools.

Read first: `carrying` (which format has a place for which sites, and the readers and writers by name).
"""
