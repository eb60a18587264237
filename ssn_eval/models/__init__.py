"""A model: which one it is, how it is loaded, where its neurons are, and what it answers.

Read first: `loading` (a `ModelSpec` names a model, `load` gives it), then `architectures/resolving` (every site of a model).
`batches`, `memory` and `residency` say how much fits at once. `generation` asks the model.
`lineage`, `deltas`, `resuming` and `cards` lie beside weights: what they came from, what changed, how training goes on, and
the README of a published folder. This room knows nothing of harm, prompts or judges.
"""
