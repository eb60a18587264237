"""Benchmarks: one reader each, used by lm_eval's tasks, by the pipeline and by `ssn`.

Read first: `source` (what a benchmark is), then `xstest` (the shortest one) and `loading` (its prompts in one language).
`pins` and its table `sources.json` name every source, `copies` says where a file is looked for (`SSN_DATA_DIR`, `data/`, the user's
cache), and `fetching` fills the cache.
"""
