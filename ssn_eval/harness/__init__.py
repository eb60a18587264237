"""The harness: everything that knows lm_eval.

Read first: `model` (`ssn_hf`), then `task` (a task is judged in one batch) and `evaluate` (one evaluation of a loaded model).
`served` is `ssn_vllm`. `startup` and `bootstrap` register our model and tasks with lm_eval. `datasets` gives our tasks their documents, `own_task` makes tasks
of a user's own prompts. `runs` reads the files that lm_eval wrote.
"""
