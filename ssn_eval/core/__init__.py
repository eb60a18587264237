"""The shared vocabulary (neurons, languages, settings, statistics) and the files that hold it.

Read first: `neurons` (a neuron, a set of neurons, the shape of a model), then `store` (scores and sets on disk).
`errors` defines the error classes; `files` writes each file completely or not at all.
`params` holds every setting of the pipeline; `presets` and `methods` are the tables that it refers to.
Importing this package does not load torch, so it is fast.
"""
