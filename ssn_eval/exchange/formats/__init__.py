"""Neuron sets in the file formats of other tools.

Read first: `carrying` (the sites that each format can hold, and the readers and writers by name).
"""
