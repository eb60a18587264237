"""The command `ssn`: find, look at, compare, export and import neurons; check a judge; write the report.

Tables for people, `--json` for programs (one object on stdout), everything else on stderr, and nothing there with `--quiet`.
Exit codes: 0 done, 1 a check failed, 2 your input, 130 interrupted. Heavy libraries are imported inside the commands, so that
help answers at once. What all commands share is in `cli/group.py`.
"""

from __future__ import annotations

import click

from ssn_eval.cli.cache import cache
from ssn_eval.cli.claims import claims
from ssn_eval.cli.completion import completion
from ssn_eval.cli.data import data
from ssn_eval.cli.direction import direction
from ssn_eval.cli.doctor import doctor
from ssn_eval.cli.edit import edit
from ssn_eval.cli.exchange import export, import_
from ssn_eval.cli.find import find
from ssn_eval.cli.frontier import frontier
from ssn_eval.cli.group import Group
from ssn_eval.cli.harden import harden
from ssn_eval.cli.identification import identify, select
from ssn_eval.cli.init import init
from ssn_eval.cli.judging import calibrate, judge
from ssn_eval.cli.pathway import pathway
from ssn_eval.cli.push import push
from ssn_eval.cli.reference import reference
from ssn_eval.cli.report import report
from ssn_eval.cli.robustness import robustness
from ssn_eval.cli.runs import summarize
from ssn_eval.cli.sets import agreement, combine, diff, show
from ssn_eval.cli.train import pairs, train
from ssn_eval.cli.weights import bake, merge


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="ssn-eval")
def main() -> None:
    """Find, test and train the cross-lingual shared safety neurons of a language model."""


for _command in (
    init,
    find,
    identify,
    select,
    show,
    diff,
    agreement,
    combine,
    pathway,
    export,
    import_,
    reference,
    direction,
    edit,
    bake,
    merge,
    pairs,
    harden,
    robustness,
    train,
    push,
    calibrate,
    judge,
    data,
    cache,
    summarize,
    report,
    claims,
    frontier,
    doctor,
    completion,
):
    main.add_command(_command)
