"""The report: one self-contained page, figures, and what `dvc metrics` and `dvc plots` read, from the pipeline's results.

`page.build` writes it all for one run, `sidebyside.build` for several; `summary.table` is for a terminal. Without `--with-samples` it
holds numbers only: no completion of any model.
"""
