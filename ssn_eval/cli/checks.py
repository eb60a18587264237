"""`ssn calibrate`, `ssn report` and `ssn doctor`: measure a judge, write the report, check the installation."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from ssn_eval.cli.output import FILE, JSON, emit, table


@click.command()
@click.option("--judge", "judge_name", default="refusal", show_default=True)
@click.option("--gold", required=True, type=FILE, help="JSONL (or .gz) of lang, prompt, response, refusal, harmful.")
@JSON
def calibrate(judge_name: str, gold: Path, as_json: bool) -> None:
    """Measure a judge against gold labels, by language and by model.

    Example: ssn calibrate --judge refusal --gold judged_responses.jsonl.gz
    """
    from ssn_eval import calibration
    from ssn_eval.judges import check_judge, get_judge

    check_judge(judge_name)
    judge = get_judge(judge_name)
    rows = calibration.read_gold(gold)
    found = calibration.calibrate(rows, judge.judge([row.exchange for row in rows]), judge=judge_name)
    shown = table(f"{judge_name}: {found.n} responses", "", "kappa", "f1", "precision", "recall", "unscored")
    for name, group in (("overall", found.overall), *found.by_lang.items(), *found.by_model.items()):
        numbers = (group.kappa, group.f1, group.precision, group.recall)
        shown.add_row(name, *("–" if n is None else f"{n:.3f}" for n in numbers), str(group.unscored))
    emit(found.to_json(), as_json, shown)


@click.command()
@click.argument("results", type=FILE, default=Path("results"))
@click.option("--out", type=FILE, default=Path("report"), show_default=True)
@JSON
def report(results: Path, out: Path, as_json: bool) -> None:
    """Write the report of a finished pipeline and print its table.

    Example: ssn report results --out report
    """
    from ssn_eval.report import build
    from ssn_eval.report import table as summary

    found = build(results, out)
    emit(found, as_json, summary(results))
    click.echo(f"Report: {(out / 'index.html').as_posix()}", err=True)


@click.command()
@JSON
def doctor(as_json: bool) -> None:
    """Check the installation: does lm_eval see our model and tasks, is dvc there, what does torch run on?

    Example: ssn doctor
    """
    import importlib.util

    import torch

    from ssn_eval.store import versions

    try:
        import lm_eval.models  # noqa: F401  (its import is what registers us)
        from lm_eval.api.registry import model_registry
        from lm_eval.tasks import TaskManager

        model, tasks = "ssn_hf" in model_registry, "multijail" in TaskManager().all_tasks
    except ImportError:
        model = tasks = False
    dvc = importlib.util.find_spec("dvc") is not None
    checks = {"lm_eval sees ssn_hf": model, "lm_eval sees our tasks": tasks, "dvc is installed": dvc}
    device = "cuda" if torch.cuda.is_available() else "cpu"
    lines = [f"{'ok  ' if good else 'FAIL'} {name}" for name, good in checks.items()]
    if not (model and tasks):
        lines.append("     reinstall with pip into this environment's site-packages, and unset SSN_EVAL_AUTOLOAD")
    lines.append(f"     torch {torch.__version__} on {device}")
    ok = all(checks.values())
    emit({"ok": ok, "checks": checks, "device": device, "versions": versions()}, as_json, "\n".join(lines))
    sys.exit(0 if ok else 1)
