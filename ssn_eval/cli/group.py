"""What every command of `ssn` has: `--quiet`, an example that can be copied, and one sentence for a mistake.

Exit codes: 0 done, 1 a check failed, 2 your input, 130 interrupted.
"""

from __future__ import annotations

import functools
import inspect
import os
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, suppress
from typing import Any, NoReturn

import click

from ssn_eval.core import chatter
from ssn_eval.core.mistakes import EXIT_CODE, one_sentence

INTERRUPTED = 130
"""what shells report of a program that was stopped by Ctrl-C"""
WIDTH = 78
"""columns of an example: click's help is 80 wide at most and indents by two"""
_EXAMPLE = re.compile(r"^[ ]*(Example: ssn .+)$", re.MULTILINE)

QUIET = click.Option(["-q", "--quiet"], is_flag=True, help="Only errors on stderr: no progress, no warnings.")


class Failure(click.ClickException):
    """A mistake in the input: click prints its sentence and exits with 2."""

    exit_code = EXIT_CODE


def _fail(sentence: str) -> NoReturn:
    raise Failure(sentence) from None


class Group(click.Group):
    """A group that gives every command `--quiet`, an example that can be copied, and one sentence for a mistake."""

    def add_command(self, cmd: click.Command, name: str | None = None) -> None:
        """Add a command, with `--quiet` and an example that no line break cuts in two."""
        if not isinstance(cmd, click.Group) and not any("--quiet" in p.opts for p in cmd.params):
            cmd.params.append(QUIET)
            cmd.callback = _quietly(cmd.callback) if cmd.callback else None
        if cmd.help:
            cmd.help = _EXAMPLE.sub(lambda found: f"\n\b\n{unbroken(found[1])}\n", inspect.cleandoc(cmd.help))
        super().add_command(cmd, name)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; an `SsnError`, a file that cannot be used and Ctrl-C become one sentence and an exit code."""
        chatter.silence()
        try:
            with one_sentence(_fail):
                return super().invoke(ctx)
        except KeyboardInterrupt:
            click.echo("Interrupted. What can be resumed resumes when the command is started again.", err=True)
            ctx.exit(INTERRUPTED)


def examples(command: click.Command) -> list[str]:
    """The `ssn …` lines of a command's help, each as one line."""
    joined = re.sub(r"\s*\\\n\s*", " ", command.help or "")
    return [line.removeprefix("Example: ") for line in _EXAMPLE.findall(joined)]


def unbroken(line: str) -> str:
    """A shell line cut before its options into lines of at most `WIDTH` columns, so that it can be copied from the help."""
    first, *options = re.split(r" (?=--?[a-z])", line)
    lines = [first]
    for part in options:
        if len(lines[-1]) + len(part) + 3 > WIDTH:
            lines.append(f"    {part}")
        else:
            lines[-1] += f" {part}"
    return " \\\n".join(lines)


def _quietly(callback: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(callback)
    def run(*args: Any, quiet: bool, **kwargs: Any) -> Any:
        if not quiet:
            return callback(*args, **kwargs)
        with silenced():
            return callback(*args, **kwargs)

    return run


@contextmanager
def silenced() -> Iterator[None]:
    """Send stderr nowhere while the body runs, that of libraries and child processes too; errors are shown after it."""
    with ExitStack() as stack:
        stack.enter_context(redirect_stderr(_nowhere()))
        with suppress(OSError, ValueError):  # where stderr is no file, as in a notebook, there is only the line above
            stderr_copy = os.dup(2)
            stack.callback(lambda: (os.dup2(stderr_copy, 2), os.close(stderr_copy)))
            os.dup2(_nowhere().fileno(), 2)
        yield


@functools.cache
def _nowhere() -> Any:
    """An open null file, which is never closed: loggers that are made in a quiet command keep it."""
    return open(os.devnull, "w", encoding="utf-8")
