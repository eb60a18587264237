"""How a user's mistake ends an lm_eval run: one sentence on stderr and exit code 2, no traceback.

lm_eval does not catch exceptions, and the interpreter prints a traceback for every exception except `SystemExit`. So a mistake
becomes a `HarnessExit`, which is both: a Python caller catches it as `SsnError`, and a command ends without a traceback.
"""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager
from typing import NoReturn

from ssn_eval.core import mistakes
from ssn_eval.core.errors import SsnError


class HarnessExit(SsnError, SystemExit):
    """An `SsnError` that ends a program quietly; its message has been printed."""

    def __init__(self, message: str) -> None:
        """Keep the message for Python callers and the exit code for the interpreter."""
        super().__init__(message)
        self.code = mistakes.EXIT_CODE


def one_sentence() -> AbstractContextManager[None]:
    """Turn an `SsnError` of the body into its sentence on stderr and a `HarnessExit`."""
    return mistakes.one_sentence(_stop, about_files=False)


def _stop(sentence: str) -> NoReturn:
    print(f"ssn_eval: {sentence}", file=sys.stderr)
    raise HarnessExit(sentence) from None
