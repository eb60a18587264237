"""The frontier: many training runs of one model, measured at several steps, to compare methods at equal cost.

Read first: `cells` (the runs of a plan), then `sweep` (run those that are missing).
"""
