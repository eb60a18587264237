"""`ssn doctor`: check that a run has everything it needs."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from ssn_eval.cli.loading import DEVICE, DTYPE, GGUF_FILE, REVISION
from ssn_eval.cli.output import JSON, emit
from ssn_eval.models.loading import check_device


@click.command()
@click.option(
    "--model",
    help="Also check whether this model fits, and show its sites: hub id, folder or package:NAME. Only its config is read, or, of a "
    "type that is not in the table, the model itself.",
)
@REVISION
@GGUF_FILE
@DTYPE
@DEVICE
@JSON
def doctor(
    model: str | None, revision: str | None, gguf_file: str | None, dtype: str, device: str | None, as_json: bool
) -> None:
    """Check the installation: versions, device, lm_eval, hub, DVC, cache, disk; with --model its memory and sites. It says how to repair.

    Exit code 1 if a check failed; a warning (offline, no room to train all weights) is none.

    Example: ssn doctor
    Example: ssn doctor --model Qwen/Qwen3-8B --dtype bfloat16
    """
    from ssn_eval.cli import health, sites
    from ssn_eval.core.origin import versions
    from ssn_eval.core.progress import waiting
    from ssn_eval.models.loading import ModelSpec

    check_device(device)
    folder = Path()
    spec = ModelSpec.parse(model, revision, gguf_file, dtype) if model else None
    with waiting("looking at the installation"):
        checks = [*health.versions(), health.torch_device(), *health.lm_eval(), health.hub(), health.dvc(folder)]
        checks += [health.cache(), health.disk(folder, health.weight_room(spec) if spec else 0)]
        if spec:
            needs = list(health.memory(spec, device))
            fits = all(check.status != "failed" for check in needs if check.name == "memory: generate")
            checks += [*needs, *sites.checks(spec, device, fits=fits)]
    ok = health.worst(checks) != "failed"
    signs = {"ok": "ok  ", "warning": "WARN", "failed": "FAIL"}
    lines = []
    for check in checks:
        lines.append(f"{signs[check.status]} {check.name}: {check.found}")
        if check.mend:
            lines.append(f"     → {check.mend}")
    value = {"ok": ok, "checks": {check.name: check.to_json() for check in checks}, "versions": versions()}
    emit(value, as_json, "\n".join(lines))
    sys.exit(0 if ok else 1)
