"""Identification: which neurons matter for safety, and which of them the languages share.

Read first: `identify` (prompts to a score file), then `selection` (scores to MS, SS and private neurons).
`importance` runs one of five scorers: `sketch` for all neurons at once, `exact` by ablation, `local` by the closed forms of public code, and
`attribution` and `activation` of other papers.
`targets` gives every set of a run by its name. `stability` and `summary` say how far the sets can be trusted.
"""
