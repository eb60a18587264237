"""Interventions: change the activations of chosen neurons, to see what they cause.

Read first: `ops` (what is done to which neurons), then `plan` (several sets together).
`hooks` changes a running model, `weights` changes its weights, `phases` separates prompt tokens from generated tokens.
`measuring` and `reference` give the means and percentiles that the ops `mean` and `set` need.
"""
