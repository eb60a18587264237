"""`ssn robustness`: does the safety of a hardened model still hang on a few neurons?"""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from ssn_eval.cli.loading import ModelOptions, model_options
from ssn_eval.cli.options import HR, LANGUAGES, codes_of, settings_among, settings_options, values_of
from ssn_eval.cli.output import FILE, JSON, emit, table
from ssn_eval.core.settings import EvaluateParams, HardenParams, PromptParams, ScoreParams, SelectParams


@click.command()
@model_options(required=True)
@click.option(
    "--adapter", type=FILE, help="What hardened it: the folder of an adapter (`ssn train`, `ssn harden --by train`)."
)
@click.option("--checkpoint", type=FILE, help="Or a full checkpoint's folder, or the file of an edit or a delta.")
@LANGUAGES
@HR
@click.option(
    "--set",
    "which",
    type=click.Choice(["ss", "ms_hr"]),
    default="ss",
    show_default=True,
    help="The set that is found again: the shared neurons, or the safety neurons of --hr.",
)
@click.option("--before", type=FILE, help="The set that was found on the base, to say how far it is the same.")
@settings_options(PromptParams, "harmful", "harmless", "heldout", "limit", "seed")
@settings_options(
    ScoreParams, *("method", "sites", "position", "probes", "prompts"), flags={"prompts": "--prompts-each"}
)
@settings_options(SelectParams, "rule", "p", "scope")
@settings_options(HardenParams, "controls")
@settings_options(EvaluateParams, "judge", "batch_size", "max_new_tokens")
@click.option("--out", required=True, type=FILE, help="The result (.json); the set that was found lies beside it.")
@JSON
def robustness(
    model: ModelOptions,
    adapter: Path | None,
    checkpoint: Path | None,
    languages: str,
    hr: str,
    which: str,
    before: Path | None,
    out: Path,
    as_json: bool,
    **values: Any,
) -> None:
    """Find a set of safety neurons again on a hardened model, suppress it there, and measure what refusal is left.

    Give the options with which the set was found on the base. Without --adapter and --checkpoint the model itself is measured, for
    comparison. A killed run resumes.

    Example: ssn robustness --model Qwen/Qwen3-8B --adapter hardened --languages en,zh,th --out robustness.json
    """
    from ssn_eval.core import files, store
    from ssn_eval.core.errors import ParamsError
    from ssn_eval.core.languages import language
    from ssn_eval.core.origin import versions
    from ssn_eval.harness.bench import Bench
    from ssn_eval.identification.agreement import Row, agreement
    from ssn_eval.prompts.corpus import HELDOUT, from_sources
    from ssn_eval.stages import robustness as stage

    langs = codes_of(languages)
    hr = language(hr).code
    if adapter and checkpoint:
        raise ParamsError("Give --adapter or --checkpoint, the one that hardened the model, not both.")
    if hr not in langs or (which == "ss" and len(langs) < 2):
        raise ParamsError(f"--languages must hold {hr} (--hr){' and another language' if which == 'ss' else ''}.")
    if out.suffix != ".json":
        raise ParamsError(f"--out is {out}; the result is a .json file.")
    trained = adapter or checkpoint
    neurons_file = out.with_name(f"{out.stem}.neurons.json")
    old = store.load_neurons(before) if before else None
    prompt_settings = settings_among(PromptParams, values)
    score = replace(
        settings_among(ScoreParams, {k: v for k, v in values.items() if k != "batch_size"}), seed=values["seed"]
    )
    select = replace(settings_among(SelectParams, values), sites=score.sites)
    settings = replace(settings_among(EvaluateParams, values), capability=None, limit=None, ability=0)
    spec, prompts = model.spec(), from_sources(langs, prompt_settings)
    work = out.parent / f".work-{out.name}"
    again = stage.find_on(
        spec,
        trained,
        prompts,
        langs,
        hr,
        score,
        select,
        which,
        work,
        load=model.load,
        say=lambda line: click.echo(line, err=True),
    )
    heldout = [p for p in prompts if p.split == HELDOUT]
    bench = Bench(spec, heldout, langs, settings, work / "conditions", trained=trained)
    found: dict[str, Any] = {"set": which, "model": spec.name, "trained": trained.name if trained else None}
    found |= stage.measure(bench, again, langs, values["controls"])
    found["hangs_on_the_set"] = stage.hangs_on_the_set(found)
    if old is not None:
        (found["overlap"],) = agreement(
            {"before": Row(old.neurons), "again": Row(again.neurons)}, again.model.geometry
        )["pairs"]
    used = {"prompts": values_of(prompt_settings), "score": values_of(score), "select": values_of(select)}
    found["provenance"] = {**used, "judge": settings.judge, "languages": langs, "hr": hr, "versions": versions()}
    store.save_neurons(neurons_file, again)
    files.write_json(out, found)
    shutil.rmtree(work, ignore_errors=True)
    emit(found | {"out": out.as_posix()}, as_json, _shown(found, langs, out))


def _shown(found: dict[str, Any], langs: list[str], out: Path) -> Any:
    from rich.console import Group

    columns = ("hardened", "set suppressed", "random suppressed", "set − hardened", "set − random", "p")
    title = f"Harmful prompts refused, %: {found['neurons']:,} neurons ({found['set']}), found again on the model"
    lines = table(title, "", *columns)
    for lang in (*langs, "all"):
        suppressed = _of(found["suppressed"], lang)
        if suppressed is None:
            continue
        randoms = [one for control in found["controls"] if (one := _of(control, lang))]
        beyond = _of(found["beyond"][0], lang) if found["beyond"] else None
        lines.add_row(
            lang,
            f"{100 * suppressed['before']:.0f}",
            f"{100 * suppressed['after']:.0f}",
            ", ".join(f"{100 * one['after']:.0f}" for one in randoms) or "–",
            _points(suppressed),
            _points(beyond),
            "–" if beyond is None else "<.001" if beyond["p"] < 0.001 else f"{beyond['p']:.3f}",
        )
    return Group(lines, f"{_verdict(found)}\nWritten: {out}")


def _of(summary: dict[str, Any], lang: str) -> dict[str, float] | None:
    return summary["all"] if lang == "all" else summary["languages"].get(lang)


def _points(change: dict[str, float] | None) -> str:
    """A paired difference in points with its interval."""
    if change is None:
        return "–"
    return f"{100 * change['difference']:+.0f} [{100 * change['low']:.0f}, {100 * change['high']:.0f}]"


def _verdict(found: dict[str, Any]) -> str:
    overlap = found.get("overlap")
    same = (
        f" The set found before and this one: Jaccard {overlap['jaccard']:.2f}, by chance {overlap['chance']:.2f}."
        if overlap and overlap["jaccard"] is not None
        else ""
    )
    if found["hangs_on_the_set"] is None:
        return f"Without a random control (--controls) nothing follows from this.{same}"
    if found["hangs_on_the_set"]:
        return (
            f"Safety still hangs on these neurons: without them less is refused than without as many random ones.{same}"
        )
    return (
        f"That safety hangs on these neurons was not shown: random ones cost as much, or the prompts are too few.{same}"
    )
