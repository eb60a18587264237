"""Judges: they take batches of (prompt, response, language) and give one verdict for each.

Read first: `verdict` (an exchange and its verdict) and `registry` (a judge by its name).
`refusal` judges offline by rules and phrases. `guards` holds guard models, `api` holds judges behind an endpoint.
`calibration` measures a judge against gold labels. docs/judges.md says which judge to use when.
This package does not know the pipeline, neuron sets or training.
"""
