"""`ssn export` and `ssn import`: neuron sets in the formats of other tools, adapters, deltas and baked models."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ssn_eval.cli.loading import GGUF_FILE, REVISION
from ssn_eval.cli.output import FILE, JSON, emit
from ssn_eval.cli.push import TO_HUB
from ssn_eval.core.errors import ParamsError

if TYPE_CHECKING:
    from ssn_eval.core.store import NeuronFile

_OWN = ("json", "csv", "safetensors")
_FOREIGN = ("sntune", "lape", "jsonl", "parquet")
_FOLDERS = ("peft", "hf")
_NAMED_ENDINGS = (*_OWN, "jsonl", "parquet")
"""formats whose files end in their name; sntune and lape have no fixed ending"""


@click.command()
@click.argument("source", type=FILE)
@click.option("--format", "kind", required=True, type=click.Choice([*_OWN, *_FOREIGN, *_FOLDERS, "delta"]))
@click.option("--drop-unsupported", is_flag=True, help="Leave out neurons that sntune or lape cannot hold.")
@click.option("--scores", "score_file", type=FILE, help="For jsonl: a score file, which fills the column score.")
@click.option("--op", help="For hf: suppress (the default) or scale:NUMBER.")
@click.option(
    "--uniform-rank", is_flag=True, help="For peft: one rank for all modules, as LoRA servers (vLLM) want it."
)
@click.option(
    "--model",
    help="For peft, hf and delta: the base model (id, folder or package:NAME), if not the one named in the source.",
)
@click.option("--gguf-file", help="For peft, hf and delta: a GGUF file inside the model's folder or package.")
@click.option("--out", required=True, type=FILE)
@TO_HUB
@JSON
def export(
    source: Path,
    kind: str,
    drop_unsupported: bool,
    score_file: Path | None,
    op: str | None,
    uniform_rank: bool,
    model: str | None,
    gguf_file: str | None,
    out: Path,
    repo: str | None,
    as_json: bool,
) -> None:
    """Write a neuron set, or what was trained with it, in another format.

    json, csv, safetensors and parquet are ours; jsonl is rows of layer, matrix, index and score; sntune is SN-Tune's
    text, lape LAPE's .pth; peft is the untrained neuron-LoRA adapter of the set; hf is the model with the set suppressed
    for good (see also ssn bake).

    SOURCE may be an adapter's folder with peft --uniform-rank, and an adapter's or a fine-tuned model's folder with delta,
    which holds only the changed rows and columns.

    Example: ssn export artifacts/sets/ss.json --format csv --out ss.csv
    """
    from ssn_eval.core import store
    from ssn_eval.exchange import folders
    from ssn_eval.models.loading import ModelSpec

    for name, option_value, only in (
        ("--scores", score_file, "jsonl"),
        ("--op", op, "hf"),
        ("--uniform-rank", uniform_rank or None, "peft"),
    ):
        if option_value is not None and kind != only:
            raise ParamsError(f"{name} goes with --format {only}, not with {kind}.")
    if repo:
        _refuse_before_writing(repo, kind, source)
    if kind == "delta":
        size = folders.write_delta(source, model, gguf_file, out)
        value = {"out": out.as_posix(), "format": kind, "weights": size.weights, "values": size.values}
        emit(value, as_json, f"{size.values} values in {size.weights} weights of {size.base} → {out}")
        return
    if source.is_dir():
        if kind != "peft" or not uniform_rank:
            raise ParamsError(
                f"{source} is a folder: an adapter is exported as peft with --uniform-rank, or as delta; {kind} needs a neuron set."
            )
        rank = folders.write_uniform(source, out)
        value = {"out": out.as_posix(), "format": kind, "rank": rank}
        emit(value, as_json, f"{source} with rank {rank} everywhere → {out}")
        return
    file = store.load_neurons(source)
    size = len(file.neurons)
    if kind in _FOLDERS:
        spec = ModelSpec.parse(model or file.model.id, None if model else file.model.revision, gguf_file)
        if kind == "peft":
            folders.write_adapter(file, spec, source, out, one_rank=uniform_rank)
        else:
            folders.write_baked(file, spec, op or "suppress", source, out)
    elif out.suffix != f".{kind}" if kind in _NAMED_ENDINGS else out.suffix[1:] in _NAMED_ENDINGS:
        spec = f"a .{kind} file" if kind in _NAMED_ENDINGS else f"a file of its own ending, not {out.suffix}"
        raise ParamsError(f"--format {kind} writes {spec}, but --out is {out}.")
    elif kind in _OWN:
        store.save_neurons(out, file)
    else:
        size = _write_foreign(file, kind, drop_unsupported, score_file, out)
    if size < len(file.neurons):
        click.echo(f"Left out {len(file.neurons) - size} neurons that {kind} has no place for.", err=True)
    pushed = {"commit": _pushed(file, out, repo)} if repo else {}
    value = {"out": out.as_posix(), "format": kind, "neurons": size, **pushed}
    emit(value, as_json, " → ".join([f"{size} neurons", str(out), *pushed.values()]))


@click.command("import")
@click.argument("file", type=FILE)
@click.option("--format", "kind", required=True, type=click.Choice([*_FOREIGN, "csv"]))
@click.option("--model", help="The model that the neurons belong to: hub id or folder, or package:NAME.")
@REVISION
@GGUF_FILE
@click.option("--like", type=FILE, help="In place of --model: a neuron set or score file of that model.")
@click.option("--language", type=click.IntRange(0), help="For lape: the number of a language in the file, from 0.")
@click.option("--min-score", type=float, help="For jsonl: only rows with at least this score.")
@click.option("--out", required=True, type=FILE, help=".json or .safetensors")
@JSON
def import_(
    file: Path,
    kind: str,
    model: str | None,
    revision: str | None,
    gguf_file: str | None,
    like: Path | None,
    language: int | None,
    min_score: float | None,
    out: Path,
    as_json: bool,
) -> None:
    """Read neurons found by another tool (SN-Tune's text, LAPE's .pth, jsonl, csv or parquet rows) into a neuron set.

    Example: ssn import LLaMA-2-7B.neuron.pth --format lape --language 1 --model meta-llama/Llama-2-7b-hf --out zh.json
    """
    from ssn_eval.core import files, origin, store
    from ssn_eval.exchange.formats import carrying
    from ssn_eval.models import loading
    from ssn_eval.models.loading import ModelSpec

    for name, option_value, only in (("--language", language, "lape"), ("--min-score", min_score, "jsonl")):
        if option_value is not None and kind != only:
            raise ParamsError(f"{name} goes with --format {only}, not with {kind}.")
    if (model is None) == (like is None) or (like and (revision or gguf_file)):
        raise ParamsError("Give either --model (with --revision and --gguf-file), or --like with a file of that model.")
    if out.suffix not in (".json", ".safetensors"):
        raise ParamsError(f"A neuron set is written as .json or .safetensors; {out} has another ending.")
    if not file.is_file():  # said before a model is loaded for minutes
        raise carrying.missing(file, kind)
    from ssn_eval.core.store import model_of

    ref = model_of(like) if like else loading.load(ModelSpec.parse(model or "", revision, gguf_file), device="cpu").ref
    decoded = carrying.decode(file, kind, ref.geometry, language=language, min_score=min_score)
    options = {"language": language, "min_score": min_score}
    source = {"format": kind, "file": file.name, "sha256": files.sha256(file)}
    provenance = {
        "what": "imported",
        "source": source | {name: value for name, value in options.items() if value is not None},
        "notes": list(decoded.notes),
        "versions": origin.versions(),
    }
    store.save_neurons(out, store.NeuronFile(decoded.neurons, ref, provenance))
    for note in decoded.notes:
        click.echo(note, err=True)
    size = len(decoded.neurons)
    emit({"out": out.as_posix(), "neurons": size, **provenance}, as_json, f"{size} neurons of {ref.id} → {out}")


def _refuse_before_writing(repo: str, kind: str, source: Path) -> None:
    from ssn_eval.exchange import hub

    if kind == "delta" or source.is_dir():
        raise ParamsError(
            "--push-to-hub goes with a neuron set; a folder of weights is pushed by `ssn push FOLDER OWNER/NAME`."
        )
    if kind == "hf":
        raise ParamsError("A model with neurons changed for good is not published from here; push the set itself.")
    hub.check(repo)


def _pushed(file: NeuronFile, out: Path, repo: str) -> str:
    from ssn_eval.exchange import publishing

    return publishing.push(out, repo, of=file)


def _write_foreign(file: NeuronFile, kind: str, drop: bool, score_file: Path | None, out: Path) -> int:
    """Write a file of another tool; returns the number of its neurons."""
    from ssn_eval.core import files, store
    from ssn_eval.exchange.formats import carrying

    neurons = carrying.carried(file.neurons, kind, drop=drop)
    scored = store.load_scores(score_file) if score_file else None
    if scored:
        scored.model.refuse_other(file.model, f"The score file {score_file}")
    data = carrying.encode(neurons, kind, file.model.geometry, scored.scores if scored else None)
    with files.atomic(out) as temporary:
        temporary.write_bytes(data)
    return len(neurons)
