"""`ssn init`: a project of the user's own, with the installed package as its dependency."""

from __future__ import annotations

from pathlib import Path

import click

from ssn_eval.cli.loading import DTYPE, GGUF_FILE, REVISION
from ssn_eval.cli.options import CommaSeparated
from ssn_eval.cli.output import FILE, JSON, emit


@click.command()
@click.argument("folder", type=FILE)
@click.option("--model", required=True, help="Hub id, folder, package:NAME, or organism (the embedded small model).")
@click.option(
    "--languages", required=True, type=CommaSeparated(), help="Codes with commas between them, such as en,zh,th."
)
@click.option("--hr", default="en", show_default=True, help="The high-resource reference language among them.")
@click.option("--harmful", default="multijail", show_default=True, help="A benchmark or a prompt file.")
@click.option("--harmless", default="polyrefuse", show_default=True, help="A benchmark or a prompt file.")
@REVISION
@GGUF_FILE
@DTYPE
@click.option("--no-check", is_flag=True, help="Do not look whether the model can be reached from this machine.")
@click.option("--no-git", is_flag=True, help="Make no git repository; dvc exp run needs one.")
@JSON
def init(
    folder: Path,
    model: str,
    languages: list[str],
    hr: str,
    harmful: str,
    harmless: str,
    revision: str | None,
    gguf_file: str | None,
    dtype: str,
    no_check: bool,
    no_git: bool,
    as_json: bool,
) -> None:
    """Write a project of your own in FOLDER: settings, pipeline, git and DVC. Then cd FOLDER && dvc repro.

    The pipeline finds the shared safety neurons of the model, tests them, trains them and writes a report. No file
    that is there is overwritten.

    Example: ssn init project --model Qwen/Qwen3-8B --languages en,zh,th
    """
    from ssn_eval.core.languages import language
    from ssn_eval.core.params import ORGANISM
    from ssn_eval.models.loading import ModelSpec
    from ssn_eval.stages.project import checks, creation
    from ssn_eval.stages.project.settings import Choice
    from ssn_eval.stages.project.texts import texts

    creation.refuse(folder, git=not no_git)
    languages = list(dict.fromkeys(language(code).code for code in languages))
    if model == ORGANISM:
        checks.refuse_unspoken(languages)
        choice = Choice({"pretrained": model}, languages, hr)
    else:
        checks.refuse_missing_prompts(harmful, "harmful", languages)
        checks.refuse_missing_prompts(harmless, "harmless", languages)
        named = ModelSpec.parse(model, revision, gguf_file, dtype)
        commit = None if no_check else checks.commit_of(named)
        spec = ModelSpec.parse(checks.place_in(folder, model), commit or revision, gguf_file, dtype)
        sources = (checks.place_in(folder, source) for source in (harmful, harmless))
        choice = Choice(spec.to_json(), languages, hr, *sources)
    contents = texts(choice)
    creation.create(folder, contents, git=not no_git)
    absent = [] if choice.is_organism else checks.absent_benchmarks([harmful, harmless])
    result = {
        "folder": folder.as_posix(),
        "files": sorted(contents),
        "model": choice.key,
        "languages": languages,
        "to_fetch": absent,
    }
    lines = [
        f"A project on {choice.name} in {', '.join(languages)} → {folder}",
        f"  cd {folder}",
        "  git add -A && git commit -m 'A new project'    # dvc exp run needs a commit",
        "  dvc repro -q                                   # every stage, one line each, then report/index.html",
        f"{folder / 'params.yaml'} has the settings, each explained.",
    ]
    if absent:
        fetch = f"ssn data fetch {' '.join(absent)} --print-sources"
        lines.append(f"dvc repro fetches {' and '.join(absent)}; without a network: {fetch}")
    emit(result, as_json, "\n".join(lines))
