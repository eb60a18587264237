"""Judges: what a reply is. Batches of (prompt, response, language) go in, and one verdict each comes out.

Read first: `verdict` (an exchange and its verdict) and `registry` (a judge by its name).
`refusal` judges offline by rules and phrases. `guards` holds guard models, `api` holds judges behind an endpoint.
`calibration` measures a judge against gold labels. docs/judges.md tells which judge to use when.
"""
