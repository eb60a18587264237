"""The pipeline: one thin module a stage, run by `dvc repro` as `python -m ssn_eval.stages.<name>`.

Read first: `common` (what every stage does), then the stages in the order of dvc.yaml.
`repetitions` runs the pipeline over several seeds; `frontier` compares training methods; `project` writes a project of the user's own.
"""
