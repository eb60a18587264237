"""`ssn judge` and `ssn calibrate`: judge stored replies again, and measure a judge."""

from __future__ import annotations

from pathlib import Path

import click

from ssn_eval.cli.output import FILE, JSON, emit, table


@click.command()
@click.argument("samples", type=FILE)
@click.option("--judge", "judge_name", required=True, help="NAME or NAME:MODEL, for example qwen3guard or api:gpt-4o.")
@click.option("--out", required=True, type=FILE, help="A new folder for the judged samples.")
@click.option("--limit", type=click.IntRange(1), help="The largest number of replies of each file.")
@JSON
def judge(samples: Path, judge_name: str, out: Path, limit: int | None, as_json: bool) -> None:
    """Judge the stored replies of an earlier run again; a stopped run resumes.

    SAMPLES is the output folder of `lm_eval --log_samples`, one samples file, or JSON lines of lang, prompt, response.

    Example: ssn judge out/run --judge refusal --out judged
    """
    from ssn_eval.core import lock
    from ssn_eval.harness.rejudging import rejudge
    from ssn_eval.judges.registry import check_judge, get_judge

    check_judge(judge_name)
    click.get_current_context().with_resource(lock.hold(out, "judgement"))
    result = rejudge(samples, get_judge(judge_name), out, limit=limit)
    count = sum(entry["replies"] for entry in result["inputs"].values())
    emit(
        {"out": out.as_posix(), **result},
        as_json,
        f"{count} replies judged → {out}; look at them with: ssn summarize {out}",
    )


@click.command()
@click.option("--judge", "judge_name", default="refusal", show_default=True)
@click.option("--gold", required=True, type=FILE, help="JSONL (or .gz) of lang, prompt, response, refusal, harmful.")
@JSON
def calibrate(judge_name: str, gold: Path, as_json: bool) -> None:
    """Measure a judge against gold labels, by language and by model.

    Example: ssn calibrate --judge refusal --gold judged_responses.jsonl.gz
    """
    from ssn_eval.judges import calibration
    from ssn_eval.judges.judging import Generated, judge_replies
    from ssn_eval.judges.registry import check_judge, get_judge

    check_judge(judge_name)
    judge = get_judge(judge_name)
    rows = calibration.read_gold(gold)
    verdicts = judge_replies(judge, [Generated(row.exchange) for row in rows])
    calibrated = calibration.calibrate(rows, verdicts, judge=judge_name)
    lines = table(f"{judge_name}: {calibrated.n} responses", "", "kappa", "f1", "precision", "recall", "unscored")
    for name, group in (("overall", calibrated.overall), *calibrated.by_lang.items(), *calibrated.by_model.items()):
        numbers = (group.kappa, group.f1, group.precision, group.recall)
        lines.add_row(name, *("–" if n is None else f"{n:.3f}" for n in numbers), str(group.unscored))
    emit(calibrated.to_json(), as_json, lines)
