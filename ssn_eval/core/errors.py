"""The base error of the project and its subclasses.

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
        """Build the message, with the names that are most similar.

        Args:
            kind: what the name should have named, for example `"language"`.
            name: what was asked for.
            known: every valid name.
        """
        options = sorted(str(k) for k in known)
        suggestions = difflib.get_close_matches(str(name), options, n=3, cutoff=0.5)
        hint = f"Did you mean {', '.join(suggestions)}?" if suggestions else f"Known: {', '.join(options)}."
        super().__init__(f"Unknown {kind} {str(name)!r}. {hint}")


class FormatError(SsnError):
    """A file is damaged, or has another format than its name or header says."""


class MissingInputError(SsnError):
    """A file, folder or data set does not exist."""


class MismatchError(SsnError):
    """Two inputs do not belong together, for example a neuron set and another model."""


class ConflictError(SsnError):
    """Two operations on the same neuron contradict each other."""


class EmptySetError(SsnError):
    """A rate, score or intervention was requested for an empty set."""


class ArchitectureError(SsnError):
    """The project does not know the sites of this model architecture."""
