"""`ssn pairs` and `ssn train`: prompts to training pairs, pairs to a trained adapter or checkpoint."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from ssn_eval.cli.loading import ModelOptions, model_options
from ssn_eval.cli.options import CommaSeparated, settings_from, settings_options
from ssn_eval.cli.output import FILE, JSON, emit
from ssn_eval.cli.push import TO_HUB
from ssn_eval.core.settings import PromptParams, TrainParams


@click.command()
@click.option("--prompts", "prompt_files", required=True, multiple=True, type=FILE,
              help="A benchmark (multijail, advbench_x, …), its own file or folder, or JSONL of id, lang, label, prompt. Several are joined.")  # fmt: skip
@click.option(
    "--langs",
    required=True,
    type=CommaSeparated(),
    help="Language codes with commas between them, for example en,zh,th.",
)
@click.option("--split", help="Only prompts of this split, for example train.")
@click.option("--refusals", type=FILE, help='JSON {"th": ["…", …]}: phrasings to draw from, instead of one sentence.')
@click.option(
    "--own-responses",
    is_flag=True,
    help="Take only harmful prompts that bring a response, as the refusal (safety_pathways).",
)
@settings_options(TrainParams, "replay")
@settings_options(PromptParams, "replay_tokens", flags={"replay_tokens": "--max-new-tokens"})
@click.option("--batch-size", default=64, show_default=True, type=click.IntRange(1), help="Answers generated at once.")
@click.option("--limit", type=click.IntRange(1), help="The largest number of harmful prompts, drawn at random.")
@click.option("--seed", default=0, show_default=True, help="Seed of every draw.")
@click.option("--out", required=True, type=FILE, help="The file of the pairs (.jsonl).")
@model_options(required=False)
@JSON
def pairs(
    prompt_files: tuple[Path, ...],
    langs: list[str],
    split: str | None,
    refusals: Path | None,
    own_responses: bool,
    replay: float,
    replay_tokens: int,
    batch_size: int,
    limit: int | None,
    seed: int,
    out: Path,
    model: ModelOptions | None,
    as_json: bool,
) -> None:
    """Make training pairs: a refusal for every harmful prompt that all languages have, and benign answers of the model.

    Example: ssn pairs --prompts polyrefuse --split train --langs en,th,ko --model Qwen/Qwen3-8B --out pairs.jsonl
    """
    from ssn_eval.core import files
    from ssn_eval.core.languages import language
    from ssn_eval.prompts.making import make_pairs
    from ssn_eval.prompts.pairs import read_phrasings, write_pairs
    from ssn_eval.prompts.reading import read_all_prompts

    files.refuse_folder(out)
    codes = [language(code).code for code in langs]
    made = make_pairs(
        read_all_prompts(prompt_files, codes),
        codes,
        model.load if model else None,
        split=split,
        refusals=read_phrasings(refusals) if refusals else None,
        replay=replay,
        max_new_tokens=replay_tokens,
        batch_size=batch_size,
        limit=limit,
        seed=seed,
        own_responses=own_responses,
    )
    write_pairs(out, made.pairs)
    if warning := made.warning():
        click.echo(warning, err=True)
    result = {
        "out": out.as_posix(),
        "pairs": len(made.pairs),
        "not_in_every_language": made.dropped,
        "cut_off": made.cut_off,
        "by_language": made.counts,
    }
    sentence = f"{made.refusals} refusals in each of {', '.join(made.counts)}, {len(made.pairs)} pairs in all → {out}"
    emit(result, as_json, sentence)


@click.command()
@model_options(required=True)
@click.option("--pairs", "pairs_file", required=True, type=FILE, help="The file that `ssn pairs` wrote.")
@click.option(
    "--neurons", "neuron_file", type=FILE, help="A neuron set; needed by methods that train, hold or suppress one."
)
@click.option("--method", default="ssn", show_default=True, help="A training method; docs/train.md lists them.")
@click.option("--hr", default="en", show_default=True, help="The high-resource language (MPO).")
@click.option("--lr", type=float, help="Peak learning rate.  [default: 0.001; 0.0002 for every weight]")
@settings_options(
    TrainParams,
    *(
        "epochs",
        "steps",
        "batch_size",
        "micro_batch",
        "checkpointing",
        "autocast",
        "optimizer",
        "pairs",
        "replay",
        "max_length",
        "warmup_ratio",
        "weight_decay",
        "schedule",
    ),
    *("leave_out", "seed"),
    flags={"pairs": "--examples"},
)
@settings_options(PromptParams, "replay_tokens", flags={"replay_tokens": "--max-new-tokens"})
@click.option("--beta", type=float, help="β of a preference loss; weight of the further term of sft_ablated and mlc.")
@click.option("--rank", type=click.IntRange(1), help="Rank of an ordinary LoRA.  [default: 8; 32 for sft_ablated]")
@click.option(
    "--clusters",
    type=click.IntRange(1),
    help="The largest number of clusters in each layer and site (tied).  [default: 8]",
)
@click.option("--out", required=True, type=FILE, help="A folder for the adapter or checkpoint.")
@TO_HUB
@JSON
def train(
    model: ModelOptions,
    pairs_file: Path,
    neuron_file: Path | None,
    method: str,
    hr: str,
    lr: float | None,
    replay_tokens: int,
    beta: float | None,
    rank: int | None,
    clusters: int | None,
    out: Path,
    repo: str | None,
    as_json: bool,
    **values: Any,
) -> None:
    """Train a model on safety pairs: chosen neurons as a PEFT adapter, or a baseline.

    A killed run resumes when it is started again. Several processes share the batches under
    `accelerate launch -m ssn_eval.cli train …`.

    Example: ssn train --model Qwen/Qwen3-8B --neurons ss.json --pairs pairs.jsonl --out hardened
    """
    from ssn_eval.core import files, methods
    from ssn_eval.core.languages import language
    from ssn_eval.core.origin import versions
    from ssn_eval.core.processes import count, is_main
    from ssn_eval.core.setnames import SetName
    from ssn_eval.core.statistics import ends
    from ssn_eval.core.store import load_neurons
    from ssn_eval.exchange import hub, publishing
    from ssn_eval.identification.selection import control_of
    from ssn_eval.prompts import overlap
    from ssn_eval.prompts.pairs import read_pairs
    from ssn_eval.training import sharding
    from ssn_eval.training.run import Answering, train

    if repo:
        hub.check(repo)
    given = {"lr": lr, "beta": beta, "rank": rank, "clusters": clusters}
    overrides: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    row = replace(methods.method_for(method, has_neurons=neuron_file is not None), **overrides)
    settings = settings_from(TrainParams, values)
    neurons = load_neurons(neuron_file) if neuron_file else None
    safety_pairs = read_pairs(pairs_file)
    texts: dict[str, list[str]] = {}
    for pair in safety_pairs:
        texts.setdefault(pair.lang, []).append(pair.prompt)
    overlaps = overlap.overlaps(texts)
    if is_main() and (warning := overlap.warning(overlaps)):
        click.echo(warning, err=True)
    if sharding.is_on() and model.device is None:
        model = replace(model, device="cpu")  # every process gets its part on the GPU from there
    loaded = model.load()
    if neurons:
        neurons.model.refuse_other(loaded.ref, f"The neuron set {neuron_file}")
        neurons = control_of(neurons, settings.seed) if SetName.parse(row.set or "").is_control else neurons
    provenance = {
        "method": method,
        "seed": settings.seed,
        "inputs": {"pairs": {"path": pairs_file.name, "sha256": files.sha256(pairs_file)}},
        "versions": versions(),
    }
    trained = train(
        loaded,
        row,
        neurons,
        safety_pairs,
        settings,
        out=out,
        provenance=provenance,
        hr=language(hr).code,
        answering=Answering(replay_tokens, settings.batch_size),
        say=lambda line: click.echo(line, err=True),
    )
    if not is_main():
        return
    summary = trained.summary
    first, last = ends([entry["loss"] for entry in summary["loss"]])
    pushed = {"commit": publishing.push(out, repo)} if repo else {}
    result = {
        "out": out.as_posix(),
        "adapter": trained.free.is_adapter,
        "processes": count(),
        "shared_prompts": {one.benchmark: one.shared for one in overlaps},
        **pushed,
        "provenance": provenance,
        **summary,
    }
    emit(
        result,
        as_json,
        f"{summary['trainable']:,} of {summary['parameters']:,} parameters "
        f"({100 * summary['trainable'] / summary['parameters']:.2g} %) trained by {method} on {summary['pairs']} pairs in "
        f"{len(summary['loss'])} steps; mean loss of the first quarter of the steps {first:.4f}, of the last {last:.4f} → {out}"
        + "".join(f" → {address}" for address in pushed.values()),
    )
