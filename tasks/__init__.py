"""lm-eval tasks, YAML only. This file makes the folder a package, as lm-eval's entry point `lm_eval.tasks` wants it."""
