"""The report: one self-contained page, figures, and what `dvc metrics` and `dvc plots` read, from the pipeline's results.

`build(results, out)` writes it all; `table(results)` is the summary for a terminal. Only numbers: no completion of any
model is in the results, so none can be in the report.
"""

from ssn_eval.report.page import build
from ssn_eval.report.summary import table

__all__ = ["build", "table"]
