"""Judges behind an OpenAI-compatible endpoint: a large model answers by a published protocol.

Read first: `judge` (the judge itself) and `protocol` (what a protocol is).
`multijail` and `strongreject` are the protocols. `endpoint`, `batch`, `cache` and `settings` ask, repeat and store.
This package does not load models and does not compute rates.
"""
