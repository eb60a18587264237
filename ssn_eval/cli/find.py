"""`ssn find`: every neuron set of a model with one command and one load."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from ssn_eval.cli.loading import ModelOptions, model_options
from ssn_eval.cli.options import HR, LANGUAGES, codes_of, settings_among, settings_options
from ssn_eval.cli.output import FILE, JSON, emit, table
from ssn_eval.core.settings import PromptParams, ScoreParams, SelectParams


@click.command()
@model_options(required=True)
@LANGUAGES
@HR
@settings_options(PromptParams, "harmful", "harmless", "heldout", "limit", "seed")
@settings_options(
    ScoreParams,
    *("method", "sites", "position", "target", "probes", "tolerance", "batch_size", "checkpointing", "prompts"),
    flags={"prompts": "--prompts-each"},
)
@settings_options(SelectParams, "p", "scope")
@click.option("--out", required=True, type=FILE, help="A folder; a killed run resumes there.")
@JSON
def find(
    model: ModelOptions,
    languages: str,
    hr: str,
    out: Path,
    as_json: bool,
    **values: Any,
) -> None:
    """Find the safety neurons of a model: the sets of every language, shared, private, by contrast, and random controls.

    Neurons are found on the training part of the prompts; the held-out part is left for `ssn harden` and for evaluation.

    Example: ssn find --model Qwen/Qwen3-8B --languages en,zh,th --out found
    """
    from dataclasses import replace

    from ssn_eval.core.languages import language
    from ssn_eval.stages.finding import find as find_sets

    langs = codes_of(languages)
    score = settings_among(ScoreParams, {k: v for k, v in values.items() if k != "seed"})
    select = settings_among(SelectParams, values)
    found = find_sets(
        model.spec(),
        langs,
        language(hr).code,
        settings_among(PromptParams, values),
        replace(score, seed=values["seed"]),
        replace(select, sites=score.sites),
        out,
        load=model.load,
        say=lambda line: click.echo(line, err=True),
    )
    emit({"out": out.as_posix(), **found}, as_json, _shown(found, langs, out, model.model))


def _shown(found: Mapping[str, Any], langs: list[str], out: Path, model: str) -> Any:
    from rich.console import Group

    stable = (found["stability"] or {}).get("sets", {})
    lines = table(f"Neurons of {found['candidates']:,}", "set", "neurons", "split-half Jaccard", "by chance")
    sizes = {f"ms/{lang}": found["sizes"]["ms"][lang] for lang in langs}
    sizes |= {
        name: found["named"].get(name, found["targets"].get(name)) for name in ("ss", "private", "contrast", "random_0")
    }
    for name, size in sizes.items():
        one = stable.get(name)
        cells = (f"{one['jaccard']:.2f}", f"{one['chance']:.2f}") if one else ("–", "–")
        lines.add_row(name, "–" if size is None else f"{size:,}", *cells)
    overlaps = table("Overlap of the languages' MS, Jaccard", "", *langs)
    for lang in langs:
        overlaps.add_row(lang, *(f"{found['jaccard'][lang][other]:.2f}" for other in langs))
    sets = out / "sets"
    hint = (
        f"Written: {sets}. Next, look at a set, or harden the model with it:\n"
        f"ssn show {sets / 'ss.json'}\n"
        f"ssn harden --model {model} --neurons {sets / 'ss.json'} --languages {','.join(langs)} --out hardened"
    )
    return Group(lines, overlaps, hint)
