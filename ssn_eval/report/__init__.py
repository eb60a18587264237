"""The report on the results of the pipeline: one self-contained page, figures, and the files of `dvc metrics` and `dvc plots`.

Read first: `results` (the result files as values) and `page` (`page.build` writes the report of one run).
`sidebyside.build` writes the page of several runs; `summary.table` gives a table for a terminal.
Without `--with-samples` a report holds numbers only, and no completion of a model.
This package does not load models and does not compute scores.
"""
