"""`ssn claims`: the whole pipeline over several seeds, one table."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import click

from ssn_eval.cli.output import FILE, JSON, draw, emit
from ssn_eval.core.errors import FormatError, ParamsError


@click.command()
@click.option("--seeds", default="0,1,2", show_default=True, help="Seeds of the organism, the probes and the training.")
@click.option("--out", type=FILE, default=Path("claims"), show_default=True, help="A folder for the repetitions.")
@JSON
def claims(seeds: str, out: Path, as_json: bool) -> None:
    """Repeat the pipeline of this folder for several seeds and say which claims hold, with intervals.

    Example: ssn claims --seeds 0,1,2
    """
    from ssn_eval.core import files
    from ssn_eval.report.claims import claims as judge
    from ssn_eval.report.claims import sentences
    from ssn_eval.report.claims import table as rows
    from ssn_eval.report.results import read
    from ssn_eval.stages import repetitions

    try:
        seed_numbers = [int(part) for part in seeds.split(",")]
    except ValueError:
        raise ParamsError(f"--seeds takes whole numbers with commas between them, not {seeds!r}.") from None
    if len(set(seed_numbers)) < 2 or min(seed_numbers) < 0:
        raise ParamsError(f"--seeds needs at least two different seeds, none below 0; got {seeds}.")
    copies = repetitions.run(Path(), out, list(dict.fromkeys(seed_numbers)), say=partial(click.echo, err=True))
    folders = {seed: copy / "results" for seed, copy in copies.items()}
    verdicts = judge({seed: read(folder) for seed, folder in folders.items()})
    verdicts["organism"] = {str(seed): _behaviour(folder) for seed, folder in folders.items()}
    files.write_json(out / "claims.json", verdicts)
    if not as_json:
        draw(rows(verdicts))
        click.echo("\n".join(sentences(verdicts)))
    emit(verdicts, as_json, f"All numbers: {(out / 'claims.json').as_posix()}")


def _behaviour(results: Path) -> object:
    """The organism's behaviour, as the first stage measured it; None for a real model."""
    from ssn_eval.core import files

    data = files.read_json(results / "organism.json", "the first stage's summary")
    if not isinstance(data, dict):
        raise FormatError(f"{results / 'organism.json'} is not the first stage's summary.")
    return data.get("behaviour")
