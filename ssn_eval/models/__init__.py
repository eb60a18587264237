"""A model: its identity, how it is loaded, where its neurons are, and what it answers.

Read first: `specs` (a `ModelSpec` names a model), `loading` (`load` gives it), then `architectures/resolving` (every site of a model).
`batches`, `memory` and `residency` decide how much fits into memory at once. `generation` generates answers.
`lineage`, `deltas` and `cards` describe weights: the models they were made from, the changes, and the README of a published
folder. `resuming` continues a training run. This package knows nothing about harm, prompts or judges.
"""
