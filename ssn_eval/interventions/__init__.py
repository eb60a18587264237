"""Interventions: change what chosen neurons say, to see what they cause.

Read first: `ops` (what is done to which neurons), then `plan` (several sets together).
`hooks` does it to a running model, `weights` writes it into plain weights, `phases` tells prompt from generated token.
`measuring` and `reference` give the means and percentiles that the ops `mean` and `set` need.
"""
