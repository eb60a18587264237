"""Benchmarks: one reader each, used by lm_eval's tasks, by the pipeline and by `ssn`.

Read first: `source` (what a benchmark is), then `xstest` (the shortest one) and `loading` (its prompts in one language).
`copies` says where a file is looked for: `SSN_DATA_DIR`, then `data/`, then the hub or GitHub at the pinned commit.
"""
