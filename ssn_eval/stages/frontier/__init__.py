"""The frontier: many training runs of the organism, measured at several steps, to compare methods at equal cost.

Read first: `cells` (which runs a plan holds), then `sweep` (run those that are not there yet).
"""
