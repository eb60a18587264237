"""The command `ssn`: find, look at, compare, export and import neurons; check a judge; write the report.

Tables for people, `--json` for programs (one object on stdout), everything else on stderr. Exit codes: 0 done, 1 a check
failed, 2 your input. Heavy libraries are imported inside the commands, so that help answers at once.
"""

from __future__ import annotations

from typing import Any

import click

from ssn_eval.cli.checks import calibrate, doctor, report
from ssn_eval.cli.claims import claims
from ssn_eval.cli.exchange import export, import_
from ssn_eval.cli.reference import reference
from ssn_eval.cli.scores import identify, select
from ssn_eval.cli.sets import combine, diff, show
from ssn_eval.cli.weights import bake, merge
from ssn_eval.errors import SsnError


class _Failure(click.ClickException):
    """A mistake in what was given: click prints its sentence and exits with 2."""

    exit_code = SsnError.exit_code


class _Group(click.Group):
    """Turns an `SsnError`, or a file that cannot be read or written, into its sentence and exit code 2."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except SsnError as error:
            raise _Failure(str(error)) from None
        except BrokenPipeError:
            raise
        except OSError as error:
            raise _Failure(f"{error.filename or 'A file'} cannot be used: {error.strerror or error}.") from None


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="ssn-eval")
def main() -> None:
    """Find, test and train the cross-lingual shared safety neurons of a language model."""


for _command in (
    identify, select, show, diff, combine, export, import_, reference, bake, merge, calibrate, report, claims, doctor
):  # fmt: skip
    main.add_command(_command)
