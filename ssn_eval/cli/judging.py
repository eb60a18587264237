"""TODO."""

from __future__ import annotations

from pathlib import Path

import click

from ssn_eval.cli.output import FILE, JSON, emit


@click.command()
@click.argument("samples", type=FILE)
@click.option("--judge", "judge_name", required=True, help="NAME or NAME:MODEL, for example qwen3guard or api:gpt-4o.")
@click.option("--out", required=True, type=FILE, help="A new folder for the judged samples.")
@click.option("--limit", type=click.IntRange(1), help="At most so many replies a file.")
@JSON
def judge(samples: Path, judge_name: str, out: Path, limit: int | None, as_json: bool) -> None:
    """Judge the stored replies of an earlier run again; a stopped run goes on.

    SAMPLES is the output folder of `lm_eval --log_samples`, one samples file, or JSON lines of lang, prompt, response.

    Example: ssn judge out/run --judge refusal --out judged
    """
    from ssn_eval.core import lock
    from ssn_eval.harness.rejudging import rejudge
    from ssn_eval.judges.registry import check_judge, get_judge

    check_judge(judge_name)
    click.get_current_context().with_resource(lock.hold(out, "judgement"))
    made = rejudge(samples, get_judge(judge_name), out, limit=limit)
    count = sum(entry["replies"] for entry in made["inputs"].values())
    emit(
        {"out": out.as_posix(), **made},
        as_json,
        f"{count} replies judged → {out}; look at them with: ssn summarize {out}",
    )
