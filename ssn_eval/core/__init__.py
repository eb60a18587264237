"""The vocabulary and the files: what every other room speaks of, and how it is written down.

Read first: `neurons` (a neuron, a set of neurons, the shape of a model), then `store` (scores and sets on disk).
`errors` and `files` say how a mistake is reported and how a file is written whole or not at all.
`params` holds every setting of the pipeline; `presets` and `methods` are the tables that it names.
This room does not know torch: importing it is cheap.
"""
