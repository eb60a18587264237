"""The options that say which model a command loads, and where."""

from __future__ import annotations

import click

REVISION = click.option("--revision", help="Hub revision.")
GGUF_FILE = click.option("--gguf-file", help="A GGUF file inside the model's folder or package.")
DTYPE = click.option(
    "--dtype",
    default="auto",
    show_default=True,
    type=click.Choice(["auto", "float32", "bfloat16", "float16"]),
    help="Of the weights.",
)
DEVICE = click.option("--device", help="cpu, cuda, …; the best one by default.")
TRUST_REMOTE_CODE = click.option(
    "--trust-remote-code", is_flag=True, help="Run code that the model's repository brings."
)
