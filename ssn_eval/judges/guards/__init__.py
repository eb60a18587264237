"""Guard models as judges, one module per family, run by transformers or vLLM.

Read first: `judge` (the judge itself) and `adapter` (what a family has to define).
`prompting` builds the text that a guard reads; `source` finds the model; `local` and `served` run it.
This package does not know endpoints and does not compute rates.
"""
