"""A user's mistake becomes one sentence and an exit code, in every door; each door says how it shows the sentence and ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn

from ssn_eval.core import files
from ssn_eval.core.errors import SsnError

EXIT_CODE = SsnError.exit_code


@contextmanager
def one_sentence(stop: Callable[[str], NoReturn], *, about_files: bool = True) -> Iterator[None]:
    """Give the sentence of a mistake in the body to `stop`.

    Args:
        stop: shows the sentence and ends the program, or raises what its caller expects.
        about_files: also for a file that cannot be read or written; a broken pipe is no mistake.
    """
    try:
        yield
    except (SystemExit, BrokenPipeError):
        raise
    except SsnError as error:
        stop(str(error))
    except OSError as error:
        if not about_files:
            raise
        stop(files.sentence(error))
