"""`ssn data`: the benchmarks on this machine, their files from the source, and your own prompts as a task."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ssn_eval.cli.group import Group
from ssn_eval.cli.options import CommaSeparated
from ssn_eval.cli.output import FILE, JSON, emit, table

LABELS = ("harmful", "harmless")

if TYPE_CHECKING:
    from ssn_eval.prompts.benchmarks.fetching import Remote

BRING = """\
Without a network: fetch with --into FOLDER on another machine, or download the addresses above under
the names above; then copy the folder and set SSN_DATA_DIR to it (or call it `data`)."""


@click.group(cls=Group)
def data() -> None:
    """Benchmarks: which there are, where they lie, how to get them; and your own prompts.

    lm_eval's tasks, ssn and the pipeline look in the same places: the folder that SSN_DATA_DIR names, ./data, the
    user's cache; what is in none of them is fetched into the cache when it is needed.
    """


@data.command("list")
@JSON
def list_(as_json: bool) -> None:
    """List the benchmarks: languages, prompts, licence, and whether they are on this machine.

    Example: ssn data list
    """
    from ssn_eval.prompts.benchmarks.catalogue import SOURCES
    from ssn_eval.prompts.benchmarks.presence import presence

    shown = table("", "benchmark", "prompts", "languages", "licence", "here", "place")
    value: dict[str, Any] = {}
    for name, source in SOURCES.items():
        here = presence(source)
        place = here.place.as_posix() if here.place else ""
        shown.add_row(name, source.pin.size, " ".join(source.languages), source.pin.licence, str(here), place)
        value[name] = {
            "prompts": source.pin.size,
            "languages": list(source.languages),
            "labels": list(source.labels),
            "licence": source.pin.licence,
            "repo": source.pin.repo,
            "revision": source.pin.revision,
            **here.to_json(),
        }
    emit(value, as_json, shown)


@data.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME…")
@click.option("--langs", type=CommaSeparated(), help="Only these languages, where they are files of their own.")
@click.option("--into", type=click.Path(path_type=Path, file_okay=False),
              help="A folder for SSN_DATA_DIR, to copy to other machines; by default the user's cache.")  # fmt: skip
@click.option("--print-sources", is_flag=True, help="Fetch nothing; print address, name and checksum of every file.")
@JSON
def fetch(
    names: tuple[str, ...], langs: list[str] | None, into: Path | None, print_sources: bool, as_json: bool
) -> None:
    """Fetch benchmarks from their sources, at the pinned commit, and check every file. A file that is there stays.

    Example: ssn data fetch multijail --print-sources
    """
    from ssn_eval.core.progress import progress
    from ssn_eval.prompts.benchmarks.catalogue import source
    from ssn_eval.prompts.benchmarks.copies import cache_folder
    from ssn_eval.prompts.benchmarks.presence import bring, chosen

    wanted = [remote for name in names for remote in chosen(source(name), langs, into)]
    if print_sources:
        emit({"files": [_row(remote) for remote in wanted]}, as_json, _sources(wanted))
        return
    with progress(f"fetching {', '.join(names)}", len(wanted)) as advance:
        fetched = bring(wanted, advance)
    place = into or cache_folder()
    result = {
        "place": place.as_posix(),
        "fetched": [path.as_posix() for path in fetched],
        "already_there": len(wanted) - len(fetched),
    }
    use = f"; set SSN_DATA_DIR={into} to use it" if into else ""
    sentence = f"{len(fetched)} files fetched and checked, {len(wanted) - len(fetched)} were there → {place}{use}"
    emit(result, as_json, sentence)


@data.command()
@click.argument("table", type=FILE, metavar="FILE")
@click.option("--out", required=True, type=click.Path(path_type=Path, file_okay=False), help="A new folder.")
@click.option("--name", help="The name of the task.  [default: the name of the file]")
@click.option("--langs", type=CommaSeparated(), help="Only these languages.  [default: all that the file has]")
@click.option("--lang", help="The language of the column prompt, if there is no column lang.")
@click.option("--label", type=click.Choice(LABELS), help="What the prompts are, if there is no column label.")
@JSON
def add(
    table: Path, out: Path, name: str | None, langs: list[str] | None, lang: str | None, label: Any, as_json: bool
) -> None:
    """Make an lm_eval task and a prompt file of your own table (.csv or .jsonl).

    The table has a column for each language (en, th, …), or a column prompt and one language (--lang, or a column
    lang). Columns id, label, split and tags are read too. The same id, or the same row, in another language is the
    translation.

    Example: ssn data add own.csv --label harmful --out own
    """
    from ssn_eval.harness.own_task import refuse_name, write_tasks
    from ssn_eval.prompts.tables import read_table

    task = name or re.sub(r"\W+", "_", table.stem.lower())
    refuse_name(task, out)
    prompts = read_table(table, langs=langs, lang=lang, label=label)
    written = write_tasks(out, task, prompts)
    codes = list(dict.fromkeys(p.lang for p in prompts))
    result = {
        "out": out.as_posix(),
        "prompts": written.prompts.as_posix(),
        "tasks": written.tasks,
        "languages": codes,
        "count": len(prompts),
    }
    sentence = (
        f"{len(prompts)} prompts in {', '.join(codes)} → {out}\n"
        f"Measure a model on them: lm_eval --model ssn_hf --model_args pretrained=MODEL --tasks {out} --apply_chat_template\n"
        f"As a prompt file (--prompts, prompts.harmful, prompts.harmless): {written.prompts}"
    )
    emit(result, as_json, sentence)


def _row(remote: Remote) -> dict[str, Any]:
    known = remote.known
    return {
        "address": remote.address,
        "name": _name(remote),
        "place": remote.target.as_posix(),
        "bytes": known.size if known else None,
        "sha256": known.digest if known else None,
    }


def _sources(wanted: list[Remote]) -> str:
    lines: list[str] = []
    for remote in wanted:
        check = (
            f"{remote.known}, {remote.known.size:,} bytes"
            if remote.known
            else "checked against the host's list of the commit"
        )
        lines += [remote.address, f"  as {_name(remote)} ({check})"]
    return "\n".join([*lines, BRING])


def _name(remote: Remote) -> str:
    """The file's name in a folder of local copies."""
    from ssn_eval.prompts.benchmarks.catalogue import SOURCES
    from ssn_eval.prompts.benchmarks.copies import local_name

    return next(local_name(source, remote.path) for source in SOURCES.values() if source.pin is remote.pin)
