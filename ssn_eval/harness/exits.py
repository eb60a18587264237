"""How a user's mistake ends an lm_eval run: one sentence on stderr and exit code 2, no traceback.

lm_eval lets exceptions through to the interpreter, which prints a traceback for each but `SystemExit`. So a mistake
becomes an error that is both: a Python caller catches it as `SsnError`, the command line just ends.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from ssn_eval.core.errors import SsnError


class HarnessExit(SsnError, SystemExit):
    """An `SsnError` that ends a program quietly; its message has been printed."""

    def __init__(self, message: str) -> None:
        """Keep the message for Python callers and the exit code for the interpreter."""
        super().__init__(message)
        self.code = SsnError.exit_code


@contextmanager
def one_sentence() -> Iterator[None]:
    """Turn an `SsnError` of the body into its sentence on stderr and a `HarnessExit`."""
    try:
        yield
    except HarnessExit:
        raise
    except SsnError as error:
        print(f"ssn_eval: {error}", file=sys.stderr)
        raise HarnessExit(str(error)) from None
