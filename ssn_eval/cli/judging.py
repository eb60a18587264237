"""`ssn judge` and `ssn calibrate`: judge stored replies again, and measure a judge."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ssn_eval.cli.output import FILE, JSON, emit, table

if TYPE_CHECKING:
    from ssn_eval.judges.calibration import GoldRow


@click.command()
@click.argument("samples", type=FILE)
@click.option("--judge", "judge_name", required=True, help="NAME or NAME:MODEL, for example qwen3guard or api:gpt-4o.")
@click.option("--out", required=True, type=FILE, help="A new folder for the judged samples.")
@click.option("--limit", type=click.IntRange(1), help="The largest number of replies of each file.")
@click.option("--thoughts", is_flag=True, help="Judge the thoughts of a reasoning model, too: leak and escape.")
@JSON
def judge(samples: Path, judge_name: str, out: Path, limit: int | None, thoughts: bool, as_json: bool) -> None:
    """Judge the stored replies of an earlier run again; a stopped run resumes.

    SAMPLES is the output folder of `lm_eval --log_samples`, one samples file, or JSON lines of lang, prompt, response.

    Example: ssn judge out/run --judge refusal --out judged
    """
    from ssn_eval.core import lock
    from ssn_eval.harness.rejudging import rejudge
    from ssn_eval.judges.registry import check_judge, get_judge

    check_judge(judge_name)
    click.get_current_context().with_resource(lock.hold(out, "judgement"))
    result = rejudge(samples, get_judge(judge_name), out, limit=limit, thoughts=thoughts)
    count = sum(entry["replies"] for entry in result["inputs"].values())
    emit(
        {"out": out.as_posix(), **result},
        as_json,
        f"{count} replies judged → {out}; look at them with: ssn summarize {out}",
    )


@click.command()
@click.option("--judge", "judge_name", default="refusal", show_default=True)
@click.option("--gold", required=True, type=FILE,
              help="JSONL (or .gz) of lang, prompt, response, refusal, harmful; or a public set: NAME, or NAME=PATH.")  # fmt: skip
@click.option("--label", type=click.Choice(("refusal", "harmful")), default="refusal", show_default=True,
              help="The label that is compared.")  # fmt: skip
@click.option("--agreement", type=click.IntRange(1), help="Annotators who must agree (polyguardprompts).  [default: 3]")
@click.option("--limit", type=click.IntRange(1), help="The largest number of rows of each language.")
@click.option("--markdown", is_flag=True, help="A Markdown table by language.")
@JSON
def calibrate(
    judge_name: str,
    gold: Path,
    label: Any,
    agreement: int | None,
    limit: int | None,
    markdown: bool,
    as_json: bool,
) -> None:
    """Measure a judge against gold labels, by language and by model.

    The public sets are polyguardprompts, multilingual_refusals and refusal_classifier_data. A set that is named without
    a path lies as a folder of its name in SSN_DATA_DIR or ./data.

    Example: ssn calibrate --judge refusal --gold judged_responses.jsonl.gz
    """
    from ssn_eval.judges import calibration
    from ssn_eval.judges.judging import Generated, judge_replies
    from ssn_eval.judges.registry import check_judge, get_judge

    check_judge(judge_name)
    judge = get_judge(judge_name)
    rows = _first(_gold(gold, label, agreement), limit)
    verdicts = judge_replies(judge, [Generated(row.exchange) for row in rows])
    calibrated = calibration.calibrate(rows, verdicts, judge=judge_name, label=label)
    if markdown:
        emit(calibrated.to_json(), as_json, calibrated.to_markdown())
        return
    lines = table(f"{judge_name}: {calibrated.n} responses", "", "kappa", "f1", "precision", "recall", "unscored")
    for name, group in (("overall", calibrated.overall), *calibrated.by_lang.items(), *calibrated.by_model.items()):
        numbers = (group.kappa, group.f1, group.precision, group.recall)
        lines.add_row(name, *("–" if n is None else f"{n:.3f}" for n in numbers), str(group.unscored))
    emit(calibrated.to_json(), as_json, lines)


def _gold(gold: Path, label: Any, agreement: int | None) -> list[GoldRow]:
    """The rows of a gold file, or of a public set by name.

    Raises:
        SsnError: no such file or set, or its rows cannot be read.
    """
    from ssn_eval.core.errors import MissingInputError, ParamsError
    from ssn_eval.judges import calibration, goldsets
    from ssn_eval.prompts.benchmarks.copies import data_folders

    name, _, place = str(gold).partition("=")
    if name not in goldsets.GOLD_SETS:
        if agreement is not None:
            raise ParamsError("--agreement belongs to a public gold set; a gold file has one label a row.")
        return calibration.read_gold(gold, label)
    places = [Path(place)] if place else [folder / name for folder in data_folders()]
    path = next((path for path in places if path.exists()), None)
    if path is None:
        raise MissingInputError(
            f"There is no {name} at {' or '.join(map(str, places))}; get it ({goldsets.GOLD_SETS[name].source}), and put its "
            f"files there or give --gold {name}=PATH."
        )
    return goldsets.read_set(name, path, label, agreement or goldsets.AGREEMENT)


def _first(rows: list[GoldRow], limit: int | None) -> list[GoldRow]:
    """At most `limit` rows of each language, spread evenly over its rows."""
    if limit is None:
        return rows
    by_lang: dict[str, list[GoldRow]] = {}
    for row in rows:
        by_lang.setdefault(row.exchange.lang, []).append(row)
    return [
        row
        for group in by_lang.values()
        for row in (group if len(group) <= limit else [group[i * len(group) // limit] for i in range(limit)])
    ]
