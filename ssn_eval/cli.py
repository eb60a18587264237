"""The command `ssn`: find, look at, compare and export neurons; check a judge; write the report.

Tables for people, `--json` for programs (one object on stdout), everything else on stderr. Exit codes: 0 done, 1 a check
failed, 2 your input. Heavy libraries are imported inside the commands, so that help answers at once.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from ssn_eval.errors import SsnError

FILE = click.Path(path_type=Path)


class _Group(click.Group):
    """Turns an `SsnError` of any command into its sentence and exit code 2."""

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401
        try:
            return super().invoke(ctx)
        except SsnError as error:
            failure = click.ClickException(str(error))
            failure.exit_code = error.exit_code
            raise failure from None


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="ssn-eval")
def main() -> None:
    """Find, test and train the cross-lingual shared safety neurons of a language model."""


@main.command()
@click.option("--model", required=True, help="Hub id or folder, or package:NAME.")
@click.option("--revision", help="Hub revision.")
@click.option("--gguf-file", help="A GGUF file inside the model's folder or package.")
@click.option("--dtype", default="auto", show_default=True)
@click.option("--device", help="cpu, cuda, …; the best one by default.")
@click.option("--trust-remote-code", is_flag=True, help="Run code that the model's repository brings.")
@click.option("--prompts", "prompt_file", required=True, type=FILE, help="JSONL of id, lang, label, prompt; MultiJail.csv; PolyRefuse's folder.")
@click.option("--lang", required=True, help="Language code, for example th.")
@click.option("--label", default="harmful", show_default=True, type=click.Choice(["harmful", "harmless"]))
@click.option("--method", default="sketch", show_default=True, help="sketch, exact or local.")
@click.option("--sites", default="attention", show_default=True, help="attention (the paper), mlp, both, or a comma-separated list.")
@click.option("--probes", default=4, show_default=True, type=click.IntRange(1))
@click.option("--batch-size", default=8, show_default=True, type=click.IntRange(1))
@click.option("--limit", type=click.IntRange(1), help="At most so many prompts.")
@click.option("--seed", default=0, show_default=True)
@click.option("--out", required=True, type=FILE, help="Where the scores go (.safetensors).")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def identify(
    model: str,
    revision: str | None,
    gguf_file: str | None,
    dtype: str,
    device: str | None,
    trust_remote_code: bool,
    prompt_file: Path,
    lang: str,
    label: str,
    method: str,
    sites: str,
    probes: int,
    batch_size: int,
    limit: int | None,
    seed: int,
    out: Path,
    as_json: bool,
) -> None:
    """Score every neuron of a model on the prompts of one language.

    Example: ssn identify --model Qwen/Qwen3-8B --prompts data/MultiJail.csv --lang th --out th.harmful.safetensors
    """
    from ssn_eval import importance, models, prompts, store
    from ssn_eval.errors import ParamsError, UnknownNameError
    from ssn_eval.identification import identify as run
    from ssn_eval.neurons import expand_sites

    chosen = expand_sites(sites.split(","))
    if method not in importance.METHODS:
        raise UnknownNameError("method", method, importance.METHODS)
    if out.suffix != ".safetensors":
        raise ParamsError(f"Scores are written as safetensors; {out} has another ending.")
    asked = prompts.select(prompts.read(prompt_file), lang=lang, label=label)  # type: ignore[arg-type]
    package = model.removeprefix("package:") if model.startswith("package:") else None
    spec = models.ModelSpec("" if package else model, revision, gguf_file, package, dtype)
    loaded = models.load(spec, device=device, trust_remote_code=trust_remote_code)
    file = run(loaded, asked, method=method, sites=chosen, probes=probes, batch_size=batch_size, seed=seed, limit=limit)
    store.save_scores(out, file)
    made = {"out": out.as_posix(), "neurons": sum(map(len, file.scores.values())), **file.provenance}
    _emit(made, as_json, f"{made['neurons']} neurons scored on {made['prompts']} {lang} {label} prompts → {out}")


@main.command()
@click.option("--harmful", required=True, type=FILE, help="Scores on D_jail.")
@click.option("--harmless", required=True, type=FILE, help="Scores on D_norm.")
@click.option("--hr-harmful", type=FILE, help="The same of the high-resource language, for --what ss and private.")
@click.option("--hr-harmless", type=FILE)
@click.option("--what", default="ms", show_default=True, type=click.Choice(["ms", "ss", "private"]))
@click.option("--p", default=3.0, show_default=True, help="Per cent of each layer's neurons.")
@click.option("--sites", default="both", show_default=True, help="Which scored sites compete.")
@click.option("--random", "random_seed", type=int, help="Write the matched random control with this seed instead.")
@click.option("--out", required=True, type=FILE, help=".json, .safetensors or .csv")
@click.option("--json", "as_json", is_flag=True)
def select(
    harmful: Path,
    harmless: Path,
    hr_harmful: Path | None,
    hr_harmless: Path | None,
    what: str,
    p: float,
    sites: str,
    random_seed: int | None,
    out: Path,
    as_json: bool,
) -> None:
    """Make a neuron set from scores: MS, SS or private neurons, or the matched random control of one.

    Example: ssn select --harmful th.h.safetensors --harmless th.n.safetensors --out ms_th.json
    """
    from ssn_eval import selection, store
    from ssn_eval.errors import EmptySetError, ParamsError
    from ssn_eval.neurons import expand_sites

    chosen = expand_sites(sites.split(","))
    jail, norm = store.load_scores(harmful), store.load_scores(harmless)
    norm.model.refuse_other(jail.model, f"The score file {harmless}")
    neurons = selection.ms(jail.scores, norm.scores, p, chosen)
    if what != "ms":
        if hr_harmful is None or hr_harmless is None:
            raise ParamsError(f"--what {what} compares with the high-resource language: give --hr-harmful and --hr-harmless.")
        pair = [store.load_scores(path) for path in (hr_harmful, hr_harmless)]
        for file in pair:
            file.model.refuse_other(jail.model, "The high-resource score file")
        hr = selection.ms(pair[0].scores, pair[1].scores, p, chosen)
        neurons = selection.shared(neurons, hr) if what == "ss" else selection.private(neurons, hr)
    if not neurons:
        raise EmptySetError(f"No {what} neuron at p = {p:g} %; use a larger --p.")
    if random_seed is not None:
        neurons = selection.matched_random(neurons, jail.model.geometry, random_seed)
    made = {"what": what, "p": p, "sites": list(chosen), "random_seed": random_seed, "versions": store.versions()}
    store.save_neurons(out, store.NeuronFile(neurons, jail.model, made))
    _emit({"out": out.as_posix(), "neurons": len(neurons), **made}, as_json, f"{len(neurons)} neurons → {out}")


@main.command()
@click.argument("file", type=FILE)
@click.option("--json", "as_json", is_flag=True)
def show(file: Path, as_json: bool) -> None:
    """Show a neuron set: its model, its size, and where its neurons are.

    Example: ssn show artifacts/sets/ss.json
    """
    from rich.console import Console
    from rich.table import Table

    from ssn_eval import store
    from ssn_eval.neurons import SITES

    found = store.load_neurons(file)
    layers, per_key = sorted(found.neurons.per_layer()), found.neurons.per_key()
    value = {"neurons": len(found.neurons), "model": found.model.to_json(), "per_key": dict(per_key), "provenance": dict(found.provenance)}
    if as_json:
        return _emit(value, True, "")
    total = found.model.geometry.size()
    shown = Table(title=f"{len(found.neurons)} of {total} neurons of {found.model.id}", title_justify="left")
    for name in ("layer", *SITES):
        shown.add_column(name, justify="right")
    for layer in layers:
        shown.add_row(str(layer), *(str(per_key.get(f"layers.{layer}.{site}", "")) for site in SITES))
    Console().print(shown)


@main.command()
@click.argument("first", type=FILE)
@click.argument("second", type=FILE)
@click.option("--json", "as_json", is_flag=True)
def diff(first: Path, second: Path, as_json: bool) -> None:
    """Compare two neuron sets of one model.

    Example: ssn diff artifacts/sets/ss.json artifacts/sets/ms_hr.json
    """
    from ssn_eval import store

    a, b = store.load_neurons(first), store.load_neurons(second)
    b.model.refuse_other(a.model, str(second))
    one, two = a.neurons, b.neurons
    value = {"shared": len(one & two), "only_first": len(one - two), "only_second": len(two - one), "jaccard": one.jaccard(two)}
    text = f"shared {value['shared']}, only first {value['only_first']}, only second {value['only_second']}, Jaccard {value['jaccard']:.3f}"
    _emit(value, as_json, text)


@main.command()
@click.argument("neurons", type=FILE)
@click.option("--format", "kind", required=True, type=click.Choice(["json", "csv", "safetensors", "peft"]))
@click.option("--model", help="For peft: the model, if not the one that the set names.")
@click.option("--out", required=True, type=FILE)
@click.option("--json", "as_json", is_flag=True)
def export(neurons: Path, kind: str, model: str | None, out: Path, as_json: bool) -> None:
    """Write a neuron set in another format; peft is the untrained neuron-LoRA adapter of the set.

    Example: ssn export artifacts/sets/ss.json --format csv --out ss.csv
    """
    from ssn_eval import store
    from ssn_eval.errors import ParamsError

    found = store.load_neurons(neurons)
    if kind == "peft":
        from ssn_eval import adapters, models

        loaded = models.load(models.ModelSpec(model or found.model.id, None if model else found.model.revision))
        found.model.refuse_other(loaded.ref, str(neurons))
        adapters.save(adapters.build(loaded.model, found.neurons), out, loaded.ref, {"untrained": True, **found.provenance})
    elif out.suffix != f".{kind}":
        raise ParamsError(f"--format {kind} writes a .{kind} file, but --out is {out}.")
    else:
        store.save_neurons(out, found)
    _emit({"out": out.as_posix(), "format": kind, "neurons": len(found.neurons)}, as_json, f"{len(found.neurons)} neurons → {out}")


@main.command()
@click.option("--judge", "judge_name", default="refusal", show_default=True)
@click.option("--gold", required=True, type=FILE, help="JSONL (or .gz) of lang, prompt, response, refusal, harmful.")
@click.option("--json", "as_json", is_flag=True)
def calibrate(judge_name: str, gold: Path, as_json: bool) -> None:
    """Measure a judge against gold labels, by language and by model.

    Example: ssn calibrate --judge refusal --gold judged_responses.jsonl.gz
    """
    from rich.console import Console
    from rich.table import Table

    from ssn_eval import calibration
    from ssn_eval.judges import Exchange, get_judge

    judge = get_judge(judge_name)
    rows = calibration.read_gold(gold)
    verdicts = judge.judge([Exchange(r.prompt, r.response, r.lang) for r in rows])
    value = calibration.calibrate(rows, verdicts, judge=judge_name).to_json()
    if as_json:
        return _emit(value, True, "")
    shown = Table(title=f"{judge_name}: {value['n']} responses", title_justify="left")
    for name in ("", "kappa", "f1", "precision", "recall", "unscored"):
        shown.add_column(name, justify="right")
    for name, scores in (("overall", value["overall"]), *value["by_lang"].items(), *value["by_model"].items()):
        numbers = [scores[k] for k in ("kappa", "f1", "precision", "recall")]
        shown.add_row(name, *("–" if n is None else f"{n:.3f}" for n in numbers), str(scores["unscored"]))
    Console().print(shown)


@main.command()
@click.argument("results", type=FILE, default=Path("results"))
@click.option("--out", type=FILE, default=Path("report"), show_default=True)
@click.option("--json", "as_json", is_flag=True)
def report(results: Path, out: Path, as_json: bool) -> None:
    """Write the report of a finished pipeline and print its table.

    Example: ssn report results --out report
    """
    from rich.console import Console

    from ssn_eval.report import build, table

    found = build(results, out)
    if as_json:
        return _emit(found, True, "")
    Console().print(table(results))
    click.echo(f"Report: {(out / 'index.html').as_posix()}")


@main.command()
@click.option("--json", "as_json", is_flag=True)
def doctor(as_json: bool) -> None:
    """Check the installation: does lm_eval see us, and what does torch run on?

    Example: ssn doctor
    """
    import lm_eval.models  # noqa: F401  (its import is what registers us)
    import torch
    from lm_eval.api.registry import model_registry

    from ssn_eval.harness.bootstrap import tasks_folder
    from ssn_eval.store import versions

    checks = {"lm_eval sees ssn_hf": "ssn_hf" in model_registry, "task files found": any(tasks_folder().rglob("*.yaml"))}
    value = {"ok": all(checks.values()), "checks": checks, "cuda": torch.cuda.is_available(), "versions": versions()}
    lines = [f"{'ok  ' if good else 'FAIL'} {name}" for name, good in checks.items()]
    if not checks["lm_eval sees ssn_hf"]:
        lines.append("     reinstall with pip into this environment's site-packages, and unset SSN_EVAL_AUTOLOAD")
    _emit(value, as_json, "\n".join(lines))
    sys.exit(0 if value["ok"] else 1)


def _emit(value: object, as_json: bool, text: str) -> None:
    click.echo(json.dumps(value, ensure_ascii=False, sort_keys=True) if as_json else text)


if __name__ == "__main__":
    main()
