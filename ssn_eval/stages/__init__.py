"""The pipeline's stages: `python -m ssn_eval.stages.X PATHS`. Paths and params in, one core call, outputs written."""
