"""The rows of the agreement table: ways of choosing safety neurons, as `select.compare` and the section `agreement` name them.

| row | the set |
|---|---|
| `<rule>` | by this rule of `core/rules.py`, from the pipeline's own scores |
| `<rule>@<scorer>` | by this rule, from the scores of another scorer (`score.method`) |
| `pathway` | the neurons of the paper's set that act together with one of a neighbouring layer (`ssn pathway`) |
| `model_diff:<method>` | the neurons that a training method moved most: the paper's rule on the differences from the model that it trained |
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from ssn_eval.core.errors import ParamsError, UnknownNameError
from ssn_eval.core.rules import RULES

PATHWAY, MODEL_DIFF = "pathway", "model_diff"
COMPARED = ("ss", "ms_hr")
"""the sets that can be compared: SS over all NHR languages, and MS of HR"""


class Choice(NamedTuple):
    """One row."""

    rule: str
    scorer: str | None = None
    """None: the pipeline's own"""
    method: str | None = None
    """of `model_diff`: the training method"""
    is_pathway: bool = False


def parse(text: str, scorers: Iterable[str]) -> Choice:
    """Read a row.

    Args:
        text: as in the table above.
        scorers: the names of the scorers that need one model.

    Raises:
        UnknownNameError: an unknown rule or scorer.
        ParamsError: `model_diff` without a training method.
    """
    if text == PATHWAY:
        return Choice("paper", is_pathway=True)
    kind, _, method = text.partition(":")
    if kind == MODEL_DIFF:
        if not method:
            raise ParamsError("The row model_diff needs a training method behind a colon, for example model_diff:ssn.")
        return Choice("paper", MODEL_DIFF, method)
    rule, _, scorer = text.partition("@")
    if rule not in RULES:
        raise UnknownNameError("row of the agreement table", text, [*RULES, PATHWAY, f"{MODEL_DIFF}:ssn"])
    if scorer and scorer not in scorers:
        raise UnknownNameError(f"scorer in the row {text}", scorer, scorers)
    return Choice(rule, scorer or None)


def check(tables: Mapping[str, Iterable[str]], scorers: Iterable[str], trained: Iterable[str]) -> None:
    """Check the section `agreement`.

    Args:
        tables: set → rows.
        scorers: as in `parse`.
        trained: the methods that `train.methods` names.

    Raises:
        UnknownNameError, ParamsError: an unknown set, row or training method.
    """
    trained = tuple(trained)
    for name, rows in tables.items():
        if name not in COMPARED:
            raise UnknownNameError("set in agreement", name, COMPARED)
        for row in rows:
            method = parse(row, scorers).method
            if method is not None and method not in trained:
                raise UnknownNameError(f"training method in agreement.{name}", method, trained)
