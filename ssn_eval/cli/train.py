"""`ssn pairs` and `ssn train`: prompts to training pairs, pairs to a trained adapter or checkpoint."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from ssn_eval.cli.loading import DEVICE, DTYPE, GGUF_FILE, REVISION, TRUST_REMOTE_CODE
from ssn_eval.cli.output import FILE, JSON, emit
from ssn_eval.cli.push import TO_HUB
from ssn_eval.core.errors import EmptySetError, ParamsError, UnknownNameError

if TYPE_CHECKING:
    from ssn_eval.core.methods import Method
    from ssn_eval.core.store import NeuronFile

F = TypeVar("F", bound=Callable[..., Any])


def _model_options(required: bool) -> Callable[[F], F]:
    """The options that say which model is loaded, and where."""
    options = (
        click.option("--model", required=required, help="Hub id or folder, or package:NAME."),
        REVISION,
        GGUF_FILE,
        DTYPE,
        DEVICE,
        TRUST_REMOTE_CODE,
    )

    def decorate(command: F) -> F:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


@click.command()
@click.option("--prompts", "prompt_files", required=True, multiple=True, type=FILE,
              help="A benchmark (multijail, advbench_x, …), its own file or folder, or JSONL of id, lang, label, prompt. Several are joined.")  # fmt: skip
@click.option("--langs", required=True, help="Language codes with commas between them, for example en,zh,th.")
@click.option("--split", help="Only prompts of this split, for example train.")
@click.option("--refusals", type=FILE, help='JSON {"th": ["…", …]}: phrasings to draw from, instead of one sentence.')
@click.option("--replay", default=1.0, show_default=True, type=click.FloatRange(0),
              help="Benign answers of the model per refusal; 0 needs no model.")  # fmt: skip
@click.option("--max-new-tokens", default=32, show_default=True, type=click.IntRange(1), help="Longest benign answer.")
@click.option("--batch-size", default=64, show_default=True, type=click.IntRange(1))
@click.option("--limit", type=click.IntRange(1), help="At most so many harmful prompts, drawn at random.")
@click.option("--seed", default=0, show_default=True)
@click.option("--out", required=True, type=FILE, help="Where the pairs go (.jsonl).")
@_model_options(required=False)
@JSON
def pairs(
    prompt_files: tuple[Path, ...],
    langs: str,
    split: str | None,
    refusals: Path | None,
    replay: float,
    max_new_tokens: int,
    batch_size: int,
    limit: int | None,
    seed: int,
    out: Path,
    model: str | None,
    revision: str | None,
    gguf_file: str | None,
    dtype: str,
    device: str | None,
    trust_remote_code: bool,
    as_json: bool,
) -> None:
    """Make training pairs: a refusal for every harmful prompt that all languages have, and benign answers of the model.

    Example: ssn pairs --prompts data/PolyRefuse --split train --langs en,th,ko --model Qwen/Qwen3-8B --out pairs.jsonl
    """
    from ssn_eval.core.languages import language
    from ssn_eval.models import loading
    from ssn_eval.models.loading import ModelSpec
    from ssn_eval.prompts.answers import benign_pairs
    from ssn_eval.prompts.pairs import common, read_phrasings, safety_pairs, write_pairs
    from ssn_eval.prompts.prompt import LABELS
    from ssn_eval.prompts.reading import read_all_prompts

    codes = [language(code.strip()).code for code in langs.split(",")]
    if replay and not model:
        raise ParamsError("Benign answers come from the model: give --model, or --replay 0 for refusals alone.")
    found = read_all_prompts(prompt_files, codes)
    asked = [p for p in found if p.lang in codes and split in (None, p.split)]
    made, dropped = common(safety_pairs(asked, read_phrasings(refusals) if refusals else None, seed))
    for code in codes:
        if not any(p.lang == code for p in made):
            have = sorted({f"{p.lang}/{p.split}" if p.split else p.lang for p in found if p.label == "harmful"})
            raise EmptySetError(
                f"No harmful prompt is left for {code}: the files have harmful prompts in {', '.join(have) or 'no language'}, "
                f"and only ids that every language has are kept."
            )
    if limit:
        every = list(dict.fromkeys(p.id for p in made))
        ids = set(random.Random(seed).sample(every, min(limit, len(every))))
        made = [p for p in made if p.id in ids]
    per_language = len(made) // len(codes)
    if replay and model:
        loaded = loading.load(
            ModelSpec.parse(model, revision, gguf_file, dtype), device=device, trust_remote_code=trust_remote_code
        )
        made += benign_pairs(
            loaded,
            [p for p in asked if p.label == "harmless"],
            per_language=round(replay * per_language),
            max_new_tokens=max_new_tokens,
            batch_size=batch_size,
            seed=seed,
        )
    write_pairs(out, made)
    counts = {c: {k: sum(p.lang == c and p.label == k for p in made) for k in LABELS} for c in codes}
    value = {"out": out.as_posix(), "pairs": len(made), "not_in_every_language": dropped, "by_language": counts}
    emit(value, as_json, f"{per_language} refusals in each of {', '.join(codes)}, {len(made)} pairs in all → {out}")


@click.command()
@_model_options(required=True)
@click.option("--pairs", "pairs_file", required=True, type=FILE, help="What `ssn pairs` wrote.")
@click.option("--neurons", "neuron_file", type=FILE, help="A neuron set; needed by methods that train neurons.")
@click.option("--method", default="ssn", show_default=True, help="A row of the table of methods; see docs/train.md.")
@click.option("--leave-out", help="Languages with commas between them whose pairs are not trained on.")
@click.option("--hr", default="en", show_default=True, help="The high-resource language (MPO).")
@click.option("--lr", type=float, help="Peak learning rate.  [default: 0.001; 0.0002 for every weight]")
@click.option("--epochs", default=3.0, show_default=True, type=float)
@click.option("--steps", type=click.IntRange(1), help="So many steps in place of epochs.")
@click.option("--batch-size", default=16, show_default=True, type=click.IntRange(1))
@click.option("--examples", default=64, show_default=True, type=click.IntRange(1), help="Refusals per language.")
@click.option("--replay", default=1.0, show_default=True, type=click.FloatRange(0), help="Benign pairs per refusal.")
@click.option("--max-length", default=512, show_default=True, type=click.IntRange(1), help="Tokens of a pair.")
@click.option("--max-new-tokens", default=32, show_default=True, type=click.IntRange(1),
              help="Longest answer that a preference loss holds against a refusal.")  # fmt: skip
@click.option("--beta", type=float, help="Of a preference loss.")
@click.option("--rank", type=click.IntRange(1), help="Of the method lora.  [default: 8]")
@click.option("--seed", default=0, show_default=True, help="Of the mixing, the order, and the method random.")
@click.option("--out", required=True, type=FILE, help="A folder for the adapter or checkpoint.")
@TO_HUB
@JSON
def train(
    model: str,
    revision: str | None,
    gguf_file: str | None,
    dtype: str,
    device: str | None,
    trust_remote_code: bool,
    pairs_file: Path,
    neuron_file: Path | None,
    method: str,
    leave_out: str | None,
    hr: str,
    lr: float | None,
    epochs: float,
    steps: int | None,
    batch_size: int,
    examples: int,
    replay: float,
    max_length: int,
    max_new_tokens: int,
    beta: float | None,
    rank: int | None,
    seed: int,
    out: Path,
    repo: str | None,
    as_json: bool,
) -> None:
    """Train a model on safety pairs: chosen neurons as a PEFT adapter, or a baseline.

    A killed run resumes when it is started again. Several processes share the batches under
    `accelerate launch -m ssn_eval.cli train …`.

    Example: ssn train --model Qwen/Qwen3-8B --neurons ss.json --pairs pairs.jsonl --out hardened
    """
    import warnings

    from ssn_eval.core import files
    from ssn_eval.core.languages import language
    from ssn_eval.core.origin import versions
    from ssn_eval.core.params import TrainParams
    from ssn_eval.core.processes import count, is_main
    from ssn_eval.core.statistics import ends
    from ssn_eval.core.store import load_neurons
    from ssn_eval.exchange import hub, publishing
    from ssn_eval.models import loading
    from ssn_eval.models.loading import ModelSpec
    from ssn_eval.prompts.pairs import read_pairs
    from ssn_eval.training.run import Answering, train

    warnings.filterwarnings("ignore", category=FutureWarning)  # of transformers, about itself
    if repo:
        hub.check(repo)
    changes = {"lr": lr, "beta": beta, "rank": rank}
    chosen = replace(_method(method, neuron_file), **{k: v for k, v in changes.items() if v is not None})
    settings = TrainParams(
        epochs=epochs,
        steps=steps,
        batch_size=batch_size,
        pairs=examples,
        replay=replay,
        max_length=max_length,
        leave_out=tuple(code.strip() for code in leave_out.split(",")) if leave_out else (),
        seed=seed,
    )
    neurons = load_neurons(neuron_file) if neuron_file else None
    found = read_pairs(pairs_file)
    loaded = loading.load(
        ModelSpec.parse(model, revision, gguf_file, dtype), device=device, trust_remote_code=trust_remote_code
    )
    if neurons:
        neurons.model.refuse_other(loaded.ref, f"The neuron set {neuron_file}")
        neurons = _control(neurons, seed) if method == "random" else neurons
    made = {
        "method": method,
        "seed": seed,
        "inputs": {"pairs": {"path": pairs_file.name, "sha256": files.sha256(pairs_file)}},
        "versions": versions(),
    }
    done = train(
        loaded,
        chosen,
        neurons,
        found,
        settings,
        out=out,
        provenance=made,
        hr=language(hr).code,
        answering=Answering(max_new_tokens, batch_size),
    )
    if not is_main():
        return
    curve = done.summary["loss"]
    first, last = ends([e["loss"] for e in curve])
    share = 100 * done.summary["trainable"] / done.summary["parameters"]
    pushed = {"commit": publishing.push(out, repo)} if repo else {}
    told = {"out": out.as_posix(), "adapter": done.free.is_adapter, "processes": count(), **pushed}
    value = {**told, "provenance": made, **done.summary}
    emit(
        value,
        as_json,
        f"{done.summary['trainable']:,} of {done.summary['parameters']:,} parameters ({share:.2g} %) trained by {method} on "
        f"{done.summary['pairs']} pairs in {len(curve)} steps; mean loss of the first quarter of the steps {first:.4f}, of the last "
        f"{last:.4f} → {out}" + "".join(f" → {address}" for address in pushed.values()),
    )


def _method(name: str, neuron_file: Path | None) -> Method:
    """The table's row; with a neuron set, a preference loss trains those neurons instead of every weight.

    Raises:
        UnknownNameError: no such method.
        ParamsError: neurons are missing, or not used.
    """
    from ssn_eval.core.methods import METHODS

    if name not in METHODS:
        raise UnknownNameError("training method", name, METHODS)
    found = METHODS[name]
    if found.on_neurons and not neuron_file:
        raise ParamsError(
            f"The method {name} trains chosen neurons: give --neurons FILE, or a method that needs none (full, lora, dpo)."
        )
    if found.on_neurons or not neuron_file:
        return found
    if found.loss == "sft":
        raise ParamsError(f"The method {name} trains no neuron set; leave --neurons out, or choose ssn or grad_mask.")
    return replace(found, weights="neurons", set="ss")


def _control(file: NeuronFile, seed: int) -> NeuronFile:
    """As many random neurons per layer and site, outside the set."""
    from ssn_eval.identification import selection

    drawn = selection.matched_random(file.neurons, file.model.geometry, seed)
    return replace(file, neurons=drawn)
