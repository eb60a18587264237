"""`ssn push`: an adapter, a trained model or a neuron set on the hub, with its card."""

from __future__ import annotations

from pathlib import Path

import click

from ssn_eval.cli.output import FILE, JSON, emit

TO_HUB = click.option("--push-to-hub", "repo", metavar="OWNER/NAME",
                      help="Also push it, private if the repository is new; the token is HF_TOKEN's.")  # fmt: skip


@click.command()
@click.argument("path", type=FILE)
@click.argument("repo")
@click.option("--public", is_flag=True, help="A new repository can be seen by everyone; it is private otherwise.")
@JSON
def push(path: Path, repo: str, public: bool, as_json: bool) -> None:
    """Push PATH to the repository REPO (OWNER/NAME) of the hub, with its card.

    An adapter's or trained model's folder becomes a model, a neuron set (.json or .safetensors) a data set. The token is
    read from HF_TOKEN and must be allowed to write. A README.md in the folder is pushed as it is.

    Example: ssn push artifacts/sets/ss.json you/qwen3-8b-ss-neurons
    """
    from ssn_eval.exchange import publishing

    address = publishing.push(path, repo, private=not public)
    emit({"path": path.as_posix(), "repo": repo, "commit": address}, as_json, f"{path} → {address}")
