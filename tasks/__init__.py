"""lm-eval tasks, YAML only. This file makes the folder a package, which the entry point `lm_eval.tasks` requires."""
