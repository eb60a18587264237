"""The one base error, and its few named kinds.

A message says what was asked, what was found, and what to do. The command line and the stages print it as one
sentence and exit with code 2; inside Python it is an ordinary exception.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class SsnError(Exception):
    """The base of every error that a user's input can cause."""

    exit_code = 2


class ParamsError(SsnError):
    """A wrong or unknown setting in `params.yaml` or on the command line."""


class UnknownNameError(SsnError):
    """A name (language, judge, op, model key) that does not exist."""

    def __init__(self, kind: str, name: object, known: Iterable[object]) -> None:
        """Say which names are near.

        Args:
            kind: what the name should have named, for example `"language"`.
            name: what was asked for.
            known: every name that would have been right.
        """
        options = sorted(str(k) for k in known)
        near = difflib.get_close_matches(str(name), options, n=3, cutoff=0.5)
        hint = f"Did you mean {', '.join(near)}?" if near else f"Known: {', '.join(options)}."
        super().__init__(f"Unknown {kind} {str(name)!r}. {hint}")


class FormatError(SsnError):
    """A file that is not what its name or header says, or is damaged."""


class MissingInputError(SsnError):
    """A file, folder or data set that is not there."""


class MismatchError(SsnError):
    """Two things that do not belong together: a neuron set, adapter or score file and another model."""


class ConflictError(SsnError):
    """Two things asked of the same neuron that cannot both be done."""


class EmptySetError(SsnError):
    """A rate, score or intervention asked of nothing."""


class ArchitectureError(SsnError):
    """A model whose sites this project does not know."""
