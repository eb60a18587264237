"""`ssn identify` and `ssn select`: prompts to scores, scores to neuron sets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ssn_eval.cli.loading import ModelOptions, model_options
from ssn_eval.cli.options import settings_from, settings_options
from ssn_eval.cli.output import FILE, JSON, emit
from ssn_eval.core.errors import ParamsError
from ssn_eval.core.settings import ScoreParams, SelectParams

if TYPE_CHECKING:
    from ssn_eval.prompts.prompt import Label


@click.command()
@model_options(required=True)
@click.option(
    "--prompts",
    "prompt_file",
    required=True,
    type=FILE,
    help="A benchmark (multijail, advbench_x, …), its own file or folder, or JSONL of id, lang, label, prompt.",
)
@click.option("--lang", required=True, help="Language code, for example th.")
@click.option("--label", default="harmful", show_default=True, type=click.Choice(["harmful", "harmless"]))
@settings_options(
    ScoreParams,
    *("method", "sites", "position", "target", "probes", "tolerance", "batch_size", "checkpointing", "prompts", "seed"),
    flags={"prompts": "--limit"},
)
@click.option("--neurons", "neuron_file", type=FILE, help="Measure only the neurons of this set (exact).")
@click.option("--against", help="model_diff: the second model, a hub id or a folder of the same shape.")
@click.option("--out", required=True, type=FILE, help="The file of the scores (.safetensors).")
@JSON
def identify(
    model: ModelOptions,
    prompt_file: Path,
    lang: str,
    label: Label,
    neuron_file: Path | None,
    against: str | None,
    out: Path,
    as_json: bool,
    **values: Any,
) -> None:
    """Score every neuron of a model on the prompts of one language.

    A killed run resumes when it is started again. Several processes share the prompts under
    `accelerate launch -m ssn_eval.cli identify …`.

    Example: ssn identify --model Qwen/Qwen3-8B --prompts data/MultiJail.csv --lang th --out th.harmful.safetensors
    """
    from ssn_eval.core import store, tensors
    from ssn_eval.core.processes import count, is_main
    from ssn_eval.identification import identify as identification
    from ssn_eval.models import loading
    from ssn_eval.models.loading import ModelSpec
    from ssn_eval.prompts.reading import read_one_language

    settings = settings_from(ScoreParams, values)
    tensors.refuse_other_ending(out, "A score file")
    prompts = read_one_language(prompt_file, lang, label)
    restricted = store.load_neurons(neuron_file) if neuron_file else None
    if (against is None) == (settings.method == "model_diff"):
        raise ParamsError("--against MODEL and --method model_diff go together; give both, or neither.")
    loaded = model.load()
    second = (
        loading.load(ModelSpec.parse(against, None, None, "auto"), device=str(loaded.model.device)) if against else None
    )
    if restricted is not None:
        restricted.model.refuse_other(loaded.ref, f"The neuron set {neuron_file}")
    with identification.work_folder(out.with_name(f".{out.name}.work")) as work:
        file = identification.identify(
            loaded,
            prompts,
            settings,
            neurons=restricted.neurons if restricted else None,
            against=second,
            work=work,
            say=lambda line: click.echo(line, err=True),
        ).whole
        if is_main():
            store.save_scores(out, file)
    if is_main():
        result = {
            "out": out.as_posix(),
            "neurons": sum(map(len, file.scores.values())),
            "processes": count(),
            **file.provenance,
        }
        emit(
            result, as_json, f"{result['neurons']} neurons scored on {result['prompts']} {lang} {label} prompts → {out}"
        )


@click.command()
@click.option("--harmful", required=True, type=FILE, help="Scores on D_jail.")
@click.option("--harmless", required=True, type=FILE, help="Scores on D_norm.")
@click.option("--hr-harmful", type=FILE, help="Scores of the high-resource language on D_jail, for ss and private.")
@click.option("--hr-harmless", type=FILE, help="Its scores on D_norm.")
@click.option(
    "--what",
    default="ms",
    show_default=True,
    type=click.Choice(["ms", "ss", "private", "random"]),
    help="random: the matched control of SS, or of MS without the high-resource scores.",
)
@settings_options(SelectParams, "rule", "p", "rate", "without_common", "scope", "sites")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Seed of --what random.")
@click.option("--out", required=True, type=FILE, help=".json, .safetensors or .csv")
@JSON
def select(
    harmful: Path,
    harmless: Path,
    hr_harmful: Path | None,
    hr_harmless: Path | None,
    what: str,
    seed: int,
    out: Path,
    as_json: bool,
    **values: Any,
) -> None:
    """Make a neuron set from scores: MS, SS or private neurons, or a matched random control.

    Example: ssn select --harmful th.h.safetensors --harmless th.n.safetensors --out ms_th.json

    Example: ssn select --rule contrast --harmful th.h.safetensors --harmless th.n.safetensors --out contrast_th.json
    """
    from ssn_eval.core import store
    from ssn_eval.identification.single import read_scores, select_one

    if (hr_harmful is None) != (hr_harmless is None):
        raise ParamsError("The high-resource language needs both: give --hr-harmful and --hr-harmless.")
    scores = read_scores(harmful, harmless)
    hr_scores = read_scores(hr_harmful, hr_harmless) if hr_harmful and hr_harmless else None
    file = select_one(what, scores, hr_scores, settings_from(SelectParams, values), seed)
    store.save_neurons(out, file)
    result = {"out": out.as_posix(), "neurons": len(file.neurons), **file.provenance}
    emit(result, as_json, f"{len(file.neurons)} neurons → {out}")
