"""`ssn identify` and `ssn select`: prompts to scores, scores to neuron sets."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ssn_eval.cli.loading import DEVICE, DTYPE, GGUF_FILE, REVISION, TRUST_REMOTE_CODE
from ssn_eval.cli.output import FILE, JSON, emit
from ssn_eval.core.errors import MismatchError, ParamsError

if TYPE_CHECKING:
    from ssn_eval.core.store import ScoreFile
    from ssn_eval.identification.selection import Scope
    from ssn_eval.prompts.prompt import Label


@click.command()
@click.option("--model", required=True, help="Hub id or folder, or package:NAME.")
@REVISION
@GGUF_FILE
@DTYPE
@DEVICE
@click.option("--device-map", help="auto: spread the weights over every GPU.")
@TRUST_REMOTE_CODE
@click.option(
    "--prompts",
    "prompt_file",
    required=True,
    type=FILE,
    help="A benchmark (multijail, advbench_x, …), its own file or folder, or JSONL of id, lang, label, prompt.",
)
@click.option("--lang", required=True, help="Language code, for example th.")
@click.option("--label", default="harmful", show_default=True, type=click.Choice(["harmful", "harmless"]))
@click.option("--method", default="sketch", show_default=True, help="sketch, exact or local.")
@click.option(
    "--sites",
    default="attention",
    show_default=True,
    help="attention (the paper), mlp, both, or a comma-separated list.",
)
@click.option("--position", default="last", show_default=True, help="last prompt token (the paper), mean, or response.")
@click.option("--target", default="hidden", show_default=True, help="hidden (the paper) or logits.")
@click.option("--probes", default=4, show_default=True, type=click.IntRange(1), help="Of the sketch, per prompt.")
@click.option("--tolerance", type=float, help="Stop once the ranking's standard error is at most this, e.g. 0.1.")
@click.option("--neurons", "neuron_file", type=FILE, help="Measure only the neurons of this set (exact).")
@click.option("--batch-size", default=8, show_default=True, type=click.IntRange(1))
@click.option("--checkpointing", is_flag=True, help="Less memory, more time, the same scores.")
@click.option("--limit", type=click.IntRange(1), help="At most so many prompts.")
@click.option("--seed", default=0, show_default=True)
@click.option("--out", required=True, type=FILE, help="Where the scores go (.safetensors).")
@JSON
def identify(
    model: str,
    revision: str | None,
    gguf_file: str | None,
    dtype: str,
    device: str | None,
    device_map: str | None,
    trust_remote_code: bool,
    prompt_file: Path,
    lang: str,
    label: Label,
    method: str,
    sites: str,
    position: str,
    target: str,
    probes: int,
    tolerance: float | None,
    neuron_file: Path | None,
    batch_size: int,
    checkpointing: bool,
    limit: int | None,
    seed: int,
    out: Path,
    as_json: bool,
) -> None:
    """Score every neuron of a model on the prompts of one language.

    A killed run resumes when it is started again. Several processes share the prompts under
    `accelerate launch -m ssn_eval.cli identify …`.

    Example: ssn identify --model Qwen/Qwen3-8B --prompts data/MultiJail.csv --lang th --out th.harmful.safetensors
    """
    from ssn_eval.core import lock, store, tensors
    from ssn_eval.core.processes import count, is_main
    from ssn_eval.identification.identify import identify as run
    from ssn_eval.identification.importance import Settings
    from ssn_eval.models import loading
    from ssn_eval.models.loading import ModelSpec
    from ssn_eval.prompts.reading import read_one_language

    chosen = _sites(sites)
    how = Settings(method, position, target, probes, seed, tolerance, batch_size, checkpointing)
    tensors.refuse_other_ending(out, "A score file")
    asked = read_one_language(prompt_file, lang, label)
    restricted = store.load_neurons(neuron_file) if neuron_file else None
    loaded = loading.load(
        ModelSpec.parse(model, revision, gguf_file, dtype),
        device=device,
        trust_remote_code=trust_remote_code,
        device_map=device_map,
    )
    if restricted is not None:
        restricted.model.refuse_other(loaded.ref, f"The neuron set {neuron_file}")
    work = out.with_name(f".{out.name}.work")
    if is_main():
        click.get_current_context().with_resource(lock.hold(work, "identification"))
    file = run(
        loaded,
        asked,
        how,
        sites=chosen,
        limit=limit,
        neurons=restricted.neurons if restricted else None,
        work=work,
        say=lambda line: click.echo(line, err=True),
    ).whole
    if is_main():
        store.save_scores(out, file)
        neurons = sum(map(len, file.scores.values()))
        made = {"out": out.as_posix(), "neurons": neurons, "processes": count(), **file.provenance}
        emit(made, as_json, f"{made['neurons']} neurons scored on {made['prompts']} {lang} {label} prompts → {out}")
    shutil.rmtree(work, ignore_errors=True)


@click.command()
@click.option("--harmful", required=True, type=FILE, help="Scores on D_jail.")
@click.option("--harmless", required=True, type=FILE, help="Scores on D_norm.")
@click.option("--hr-harmful", type=FILE, help="The same of the high-resource language, for ss and private.")
@click.option("--hr-harmless", type=FILE)
@click.option(
    "--what",
    default="ms",
    show_default=True,
    type=click.Choice(["ms", "ss", "private", "random"]),
    help="random: the matched control of SS, or of MS without the high-resource scores.",
)
@click.option("--p", default=3.0, show_default=True, help="Per cent of the neurons of each layer, or of all.")
@click.option(
    "--scope",
    default="layer",
    show_default=True,
    type=click.Choice(["layer", "global"]),
    help="The top p % of every layer (the paper), or of all layers at once.",
)
@click.option("--sites", default="both", show_default=True, help="Which scored sites compete.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Of --what random.")
@click.option("--out", required=True, type=FILE, help=".json, .safetensors or .csv")
@JSON
def select(
    harmful: Path,
    harmless: Path,
    hr_harmful: Path | None,
    hr_harmless: Path | None,
    what: str,
    p: float,
    scope: Scope,
    sites: str,
    seed: int,
    out: Path,
    as_json: bool,
) -> None:
    """Make a neuron set from scores: MS, SS or private neurons, or a matched random control.

    Example: ssn select --harmful th.h.safetensors --harmless th.n.safetensors --out ms_th.json
    """
    from ssn_eval.core import origin, store
    from ssn_eval.core.errors import EmptySetError
    from ssn_eval.core.neurons import is_among, parse_key
    from ssn_eval.identification import selection

    if (hr_harmful is None) != (hr_harmless is None) or (what in ("ss", "private") and hr_harmful is None):
        raise ParamsError(
            f"--what {what} compares with the high-resource language: give --hr-harmful and --hr-harmless."
        )
    chosen = _sites(sites)
    jail, norm = _pair(harmful, harmless)
    target = "ss" if what == "random" and hr_harmful else "ms" if what == "random" else what
    neurons = selection.ms(jail.scores, norm.scores, p, chosen, scope)
    made = {name: jail.provenance[name] for name in ("lang", "method") if name in jail.provenance}
    if target != "ms" and hr_harmful is not None and hr_harmless is not None:
        hr_jail, hr_norm = _pair(hr_harmful, hr_harmless)
        hr_jail.model.refuse_other(jail.model, f"The score file {hr_harmful}")
        hr = selection.ms(hr_jail.scores, hr_norm.scores, p, chosen, scope)
        neurons = selection.shared(neurons, hr) if target == "ss" else selection.private(neurons, hr)
        made["hr"] = hr_jail.provenance.get("lang")
    if not neurons:
        raise EmptySetError(f"No {target} neuron at p = {p:g} %; use a larger --p.")
    if what == "random":
        neurons = selection.matched_random(neurons, jail.model.geometry, seed)
        made |= {"seed": seed, "control_of": target}
    scored = [parse_key(key)[1] for key in jail.scores]
    made |= {
        "what": what,
        "p": p,
        "scope": scope,
        "sites": [name for name in chosen if any(is_among(site, (name,)) for site in scored)],
        "versions": origin.versions(),
    }
    store.save_neurons(out, store.NeuronFile(neurons, jail.model, made))
    emit({"out": out.as_posix(), "neurons": len(neurons), **made}, as_json, f"{len(neurons)} neurons → {out}")


def _sites(text: str) -> tuple[str, ...]:
    from ssn_eval.core.neurons import expand_sites

    return expand_sites([name.strip() for name in text.split(",")])


def _pair(harmful: Path, harmless: Path) -> tuple[ScoreFile, ScoreFile]:
    """The two score files of one language.

    Raises:
        MismatchError: they are of two models or languages, or not what their options say.
    """
    from ssn_eval.core import store

    jail, norm = store.load_scores(harmful), store.load_scores(harmless)
    norm.model.refuse_other(jail.model, f"The score file {harmless}")
    for path, file, label in ((harmful, jail, "harmful"), (harmless, norm, "harmless")):
        if file.provenance.get("label", label) != label:
            raise MismatchError(
                f"{path} holds scores on {file.provenance['label']} prompts, where {label} ones are needed."
            )
    if jail.provenance.get("lang") != norm.provenance.get("lang"):
        langs = f"{jail.provenance.get('lang')} and {norm.provenance.get('lang')}"
        raise MismatchError(f"{harmful} and {harmless} are of two languages ({langs}); give both of one language.")
    return jail, norm
