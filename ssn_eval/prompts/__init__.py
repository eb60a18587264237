"""Prompts for a model, and the answers that it should learn.

Read first: `prompt` (one prompt), then `reading` (prompts from the name of a benchmark or a file).
`benchmarks` holds one reader for each benchmark; lm_eval's tasks and the pipeline both use it.
`tables` reads a table of a user's own. `corpus` is the prompt set of a pipeline run.
`making`, `pairs` and `answers` make training pairs. `encoding` makes token ids.
"""
