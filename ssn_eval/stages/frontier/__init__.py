"""The frontier: many training runs of the organism, measured at several steps, to compare methods at equal cost.

Read first: `cells` (the runs of a plan), then `sweep` (run those that are missing).
"""
