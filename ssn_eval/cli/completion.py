"""`ssn completion`: the script for completion of our commands, options, files and choices in a shell."""

from __future__ import annotations

import click

from ssn_eval.cli.output import JSON, emit

SHELLS = ("bash", "zsh", "fish")


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
@JSON
@click.pass_context
def completion(context: click.Context, shell: str, as_json: bool) -> None:
    """Print the script that makes a shell complete `ssn`.

    bash: put `eval "$(ssn completion bash)"` into ~/.bashrc; zsh: the same with zsh into ~/.zshrc, after compinit; fish:
    write the script to ~/.config/fish/completions/ssn.fish.

    Example: ssn completion bash
    """
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"click knows no completion for {shell}.")
    script = kind(context.find_root().command, {}, "ssn", "_SSN_COMPLETE").source()
    emit({"shell": shell, "script": script}, as_json, script.rstrip("\n"))
