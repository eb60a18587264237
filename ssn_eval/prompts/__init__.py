"""Prompts: what a model is asked, and what it should answer.

Read first: `prompt` (one prompt), then `reading` (prompts from whatever a user names).
`benchmarks` holds one reader for each benchmark; lm_eval's tasks and the pipeline both use it.
`corpus` is the prompt set of a pipeline run. `pairs` and `answers` make what a model is trained on. `encoding` makes token ids.
"""
