"""`ssn harden`: a model made safer with its own safety neurons, measured before and after."""

from __future__ import annotations

import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ssn_eval.cli.loading import ModelOptions, model_options
from ssn_eval.cli.options import LANGUAGES, codes_of, settings_among, settings_options, values_of
from ssn_eval.cli.output import FILE, JSON, emit, table
from ssn_eval.core.settings import EvaluateParams, HardenParams, PromptParams, TrainParams

if TYPE_CHECKING:
    from ssn_eval.core.store import NeuronFile
    from ssn_eval.harness.bench import Bench
    from ssn_eval.models.loading import ModelSpec
    from ssn_eval.prompts.prompt import Prompt

RESULT = "harden.json"
NEURONS = "neurons.json"


@click.command()
@model_options(required=True)
@click.option("--neurons", "neuron_file", required=True, type=FILE, help="A neuron set of this model (`ssn select`).")
@LANGUAGES
@click.option(
    "--by",
    "way",
    type=click.Choice(["amplify", "train"]),
    default="amplify",
    show_default=True,
    help="amplify: multiply the neurons, no training. train: refusals and the model's own benign answers.",
)
@click.option(
    "--keep-apart", is_flag=True, help="amplify: write the neurons and the dose, and no weights; `ssn_hf` applies them."
)
@settings_options(HardenParams, "doses", "over_refusal", "kl", "controls")
@settings_options(PromptParams, "harmful", "harmless", "heldout", "limit", "replay_tokens", "seed")
@settings_options(TrainParams, "steps", "epochs", "pairs", "replay", flags={"pairs": "--examples"})
@settings_options(EvaluateParams, "judge", "batch_size", "max_new_tokens", "ability")
@click.option("--out", required=True, type=FILE, help="A new folder.")
@JSON
def harden(
    model: ModelOptions,
    neuron_file: Path,
    languages: str,
    way: str,
    keep_apart: bool,
    out: Path,
    as_json: bool,
    **values: Any,
) -> None:
    """Make a model refuse more harm with its own safety neurons, and measure what it costs.

    Only held-out prompts are used: one half chooses the dose within the limits, the other half tests it against the base and a matched
    random control. A killed run resumes.

    Example: ssn harden --model Qwen/Qwen3-8B --neurons ss.json --languages en,zh,th --out hardened
    """
    from ssn_eval.core import files, store
    from ssn_eval.core.errors import ParamsError
    from ssn_eval.core.origin import versions
    from ssn_eval.models import loading
    from ssn_eval.prompts.corpus import HELDOUT, from_sources
    from ssn_eval.stages import hardening

    if out.exists():
        raise ParamsError(f"{out} exists already; name a new folder, nothing is overwritten.")
    langs = codes_of(languages)
    limits, prompt_settings = settings_among(HardenParams, values), settings_among(PromptParams, values)
    settings = replace(settings_among(EvaluateParams, values), capability=None, limit=None)
    neurons = store.load_neurons(neuron_file)
    spec = model.spec()
    _refuse_other(neurons, loading.weights_hash(loading.locate(spec)), neuron_file)
    _warn_of_other_prompts(neurons, values_of(prompt_settings), neuron_file)
    prompts = from_sources(langs, prompt_settings)
    choosing, testing = hardening.halves([p for p in prompts if p.split == HELDOUT], prompt_settings.seed)
    work = out.parent / f".work-{out.name}"
    test = _bench(spec, testing, langs, settings, work)
    origin = {
        "neurons": {"file": neuron_file.name, "sha256": files.sha256(neuron_file), **dict(neurons.provenance)},
        "prompts": values_of(prompt_settings),
        "limits": values_of(limits),
        "versions": versions(),
    }
    if way == "amplify":
        result = _amplify(_bench(spec, choosing, langs, settings, work), test, neurons, limits, langs)
    else:
        result = _train(model, prompts, test, neurons, limits, langs, prompt_settings, values, work, out, origin)
    result |= {"model": neurons.model.id, "by": way, "languages_measured": langs, "provenance": origin}
    if result["dose"] is not None and way == "amplify":
        test.drop()
        _write_amplified(spec, neurons, result["dose"], out, origin, keep_apart)
    if result["dose"] is not None or way == "train":
        files.write_json(out / RESULT, result)
        shutil.rmtree(work, ignore_errors=True)
    emit(result | {"out": out.as_posix() if out.exists() else None}, as_json, _shown(result, out, keep_apart))


def _refuse_other(neurons: NeuronFile, weights: str, path: Path) -> None:
    """Stop before anything is loaded if the set belongs to other weights."""
    from ssn_eval.core.errors import EmptySetError, MismatchError

    if not neurons.neurons:
        raise EmptySetError(f"{path} holds no neuron.")
    if neurons.model.weights != weights:
        raise MismatchError(
            f"{path} was made on {neurons.model.id} with weights {neurons.model.weights[:12]}, but this model has weights {weights[:12]}; "
            f"identify neurons on this model."
        )


def _warn_of_other_prompts(neurons: NeuronFile, settings: dict[str, Any], path: Path) -> None:
    """Say so if the set was found with another split, because then some held-out prompts may have found it."""
    found = neurons.provenance.get("prompts")
    if not isinstance(found, dict):
        return
    changed = [name for name, value in found.items() if settings.get(name, value) != value]
    if changed:
        given = ", ".join(f"{name}={found[name]}" for name in changed)
        click.echo(
            f"{path} was found with {given}; with other values some of the prompts that test here may have found it.",
            err=True,
        )


def _bench(spec: ModelSpec, prompts: list[Prompt], langs: list[str], settings: EvaluateParams, work: Path) -> Bench:
    from ssn_eval.harness.bench import Bench

    return Bench(spec, prompts, langs, settings, work / "conditions")


def _amplify(
    choosing: Bench, test: Bench, neurons: NeuronFile, limits: HardenParams, langs: list[str]
) -> dict[str, Any]:
    """Choose the dose on one half, and measure it on the other."""
    from ssn_eval.interventions.ops import parse_op
    from ssn_eval.stages import hardening

    base, by_dose = hardening.try_doses(choosing, neurons.neurons, limits)
    dose, trials = hardening.choose(base, by_dose, limits)
    choosing.drop()
    result: dict[str, Any] = {
        "dose": dose,
        "base": base._asdict(),
        "trials": [{"dose": t.dose, **t.rates._asdict(), "is_within": t.is_within} for t in trials],
    }
    if dose is None:
        return result
    op = parse_op(f"scale:{dose:g}")
    before = test.unchanged()["counts"]
    after = test.intervened(neurons.neurons, op)["counts"]
    randoms = [test.intervened(control, op)["counts"] for control in hardening.controls(neurons, limits.controls)]
    return result | {
        "test": hardening.summary(before, after, langs),
        "controls": [hardening.summary(before, random, langs) for random in randoms],
    }


def _train(
    model: ModelOptions,
    prompts: list[Prompt],
    test: Bench,
    neurons: NeuronFile,
    limits: HardenParams,
    langs: list[str],
    prompt_settings: PromptParams,
    values: dict[str, Any],
    work: Path,
    out: Path,
    origin: dict[str, Any],
) -> dict[str, Any]:
    """Train the neurons, and a matched random set in the same way, and measure both on the prompts that test."""
    from ssn_eval.identification.selection import control_of
    from ssn_eval.prompts.making import make_pairs
    from ssn_eval.prompts.pairs import read_pairs, write_pairs
    from ssn_eval.stages import hardening
    from ssn_eval.training.run import train

    settings = settings_among(TrainParams, values)
    pairs_file = work / "pairs.jsonl"
    if not pairs_file.is_file():
        made = make_pairs(
            prompts,
            langs,
            model.load,
            split="train",
            replay=settings.replay,
            benign=round(settings.pairs * settings.replay),
            max_new_tokens=prompt_settings.replay_tokens,
            batch_size=values["batch_size"],
            seed=prompt_settings.seed,
        )
        if warning := made.warning():
            click.echo(warning, err=True)
        write_pairs(pairs_file, made.pairs)
    pairs = read_pairs(pairs_file)
    before = test.unchanged()["counts"]
    test.drop()
    places = {out: neurons} | {work / f"random-{n}": control_of(neurons, n) for n in range(limits.controls)}
    measured = []
    for place, chosen in places.items():
        if not place.is_dir():
            train(
                model.load(),
                "ssn",
                chosen,
                pairs,
                settings,
                out=place,
                provenance=origin,
                say=partial(click.echo, err=True),
            )
        measured.append(hardening.summary(before, test.trained(place)["counts"], langs))
        test.drop()
    return {"dose": None, "trials": [], "test": measured[0], "controls": measured[1:]}


def _write_amplified(
    spec: ModelSpec, neurons: NeuronFile, dose: float, out: Path, origin: dict[str, Any], keep_apart: bool
) -> None:
    """The amplified model as plain weights, or the neurons alone."""
    from ssn_eval.core import store
    from ssn_eval.exchange import baking
    from ssn_eval.interventions.ops import combine
    from ssn_eval.models import lineage, loading

    if keep_apart:
        out.mkdir(parents=True)
        store.save_neurons(out / NEURONS, neurons)
        return
    changes = combine([neurons.neurons], [f"scale:{dose:g}"], ())
    loaded = loading.load(spec, device="cpu")
    baking.save(loaded, changes, out, {"sets": [origin]}, ancestors=lineage.bases(Path(spec.pretrained)))


def _shown(result: dict[str, Any], out: Path, keep_apart: bool) -> Any:
    from rich.console import Group

    parts: list[Any] = []
    if result["trials"]:
        columns = ("harmful refused", "harmless refused", "KL", "within the limits")
        lines = table("Choosing the dose, % of the prompts, means over languages", "dose", *columns)
        lines.add_row("1 (base)", *_cells(result["base"]), "")
        for trial in result["trials"]:
            chosen = " ← chosen" if trial["dose"] == result["dose"] else ""
            lines.add_row(f"{trial['dose']:g}", *_cells(trial), f"{'yes' if trial['is_within'] else 'no'}{chosen}")
        parts.append(lines)
    if "test" in result:
        lines = table(
            "On other prompts: harmful refused, %", "", "before", "after", "difference", "p", "random control"
        )
        for lang in (*result["languages_measured"], "all"):
            found = result["test"]["all"] if lang == "all" else result["test"]["languages"].get(lang)
            if found is None:
                continue
            random = [c["all"] if lang == "all" else c["languages"].get(lang) for c in result["controls"]]
            lines.add_row(
                lang,
                f"{100 * found['before']:.0f}",
                f"{100 * found['after']:.0f}",
                f"{100 * found['difference']:+.0f} [{100 * found['low']:.0f}, {100 * found['high']:.0f}]",
                "<.001" if found["p"] < 0.001 else f"{found['p']:.3f}",
                ", ".join(f"{100 * r['after']:.0f}" for r in random if r) or "–",
            )
        before, after = result["test"]["before"], result["test"]["after"]
        lines.caption = f"harmless refused {100 * before['over_refusal']:.0f} → {100 * after['over_refusal']:.0f} %; KL {after['kl']:.3f}"
        parts.append(lines)
    parts.append(_next(result, out, keep_apart))
    return Group(*parts)


def _cells(found: dict[str, Any]) -> tuple[str, ...]:
    return f"{100 * found['refusal']:.0f}", f"{100 * found['over_refusal']:.0f}", f"{found['kl']:.3f}"


def _next(result: dict[str, Any], out: Path, keep_apart: bool) -> str:
    """What to do next, as one or two sentences."""
    if result["by"] == "train":
        arguments = f"pretrained={result['model']},adapter={out}"
    elif result["dose"] is None:
        return (
            "No dose raised refusal within the limits, so nothing was written. Try smaller --doses, a wider --over-refusal or --kl, another "
            "set, or --by train."
        )
    elif keep_apart:
        arguments = f"pretrained={result['model']},neurons={out / NEURONS},op=scale:{result['dose']:g}"
    else:
        arguments = f"pretrained={out}"
    return (
        f"Written: {out}. Next, measure it on a benchmark that took no part:\n"
        f"lm_eval --model ssn_hf --model_args {arguments} --tasks xstest,multijail --apply_chat_template --log_samples --output_path out/hardened"
    )
