"""A model: which one it is, how it is loaded, where its neurons are, and what it answers.

Read first: `loading` (a `ModelSpec` names a model, `load` gives it), then `architectures/resolving` (every site of a model).
`batches`, `memory` and `residency` say how much fits at once. `generation` asks the model.
`lineage`, `deltas`, `resuming` and `cards` describe weights: what they were made from, what changed, how training resumes, and
the README of a published folder. This package knows nothing about harm, prompts or judges.
"""
