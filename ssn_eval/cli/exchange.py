"""`ssn export` and `ssn import`: neuron sets in the formats of other tools, and as an adapter or a baked model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ssn_eval.cli.loading import load, model_of, spec
from ssn_eval.cli.output import FILE, JSON, emit
from ssn_eval.cli.push import TO_HUB
from ssn_eval.errors import ParamsError

if TYPE_CHECKING:
    from ssn_eval.models import ModelSpec
    from ssn_eval.store import NeuronFile

_OWN = ("json", "csv", "safetensors")
_FOREIGN = ("sntune", "lape", "jsonl", "parquet")
_FOLDERS = ("peft", "hf")
_NAMED_ENDINGS = (*_OWN, "jsonl", "parquet")
"""formats whose files end in their name; sntune and lape have no fixed ending"""


@click.command()
@click.argument("neurons", type=FILE)
@click.option("--format", "kind", required=True, type=click.Choice([*_OWN, *_FOREIGN, *_FOLDERS]))
@click.option("--drop-unsupported", is_flag=True, help="Leave out neurons that sntune or lape has no place for.")
@click.option("--scores", "score_file", type=FILE, help="For jsonl: a score file, which fills the column score.")
@click.option("--op", help="For hf: suppress (the default) or scale:NUMBER.")
@click.option("--model", help="For peft and hf: the model (id, folder or package:NAME), if not the one the set names.")
@click.option("--gguf-file", help="For peft and hf: a GGUF file inside the model's folder or package.")
@click.option("--out", required=True, type=FILE)
@TO_HUB
@JSON
def export(
    neurons: Path,
    kind: str,
    drop_unsupported: bool,
    score_file: Path | None,
    op: str | None,
    model: str | None,
    gguf_file: str | None,
    out: Path,
    repo: str | None,
    as_json: bool,
) -> None:
    """Write a neuron set in another format.

    json, csv, safetensors and parquet are ours; jsonl is rows of layer, matrix, index and score; sntune is SN-Tune's
    text, lape LAPE's .pth; peft is the untrained neuron-LoRA adapter of the set; hf is the model with the set suppressed
    for good.

    Example: ssn export artifacts/sets/ss.json --format csv --out ss.csv
    """
    from ssn_eval import store

    for name, given, only in (("--scores", score_file, "jsonl"), ("--op", op, "hf")):
        if given is not None and kind != only:
            raise ParamsError(f"{name} goes with --format {only}, not with {kind}.")
    if repo:
        _refuse_before_writing(repo, kind)
    found = store.load_neurons(neurons)
    size = len(found.neurons)
    if kind in _FOLDERS:
        wanted = spec(model or found.model.id, None if model else found.model.revision, gguf_file)
        _write_folder(found, kind, wanted, op or "suppress", neurons, out)
    elif out.suffix != f".{kind}" if kind in _NAMED_ENDINGS else out.suffix[1:] in _NAMED_ENDINGS:
        wanted = f"a .{kind} file" if kind in _NAMED_ENDINGS else f"a file of its own ending, not {out.suffix}"
        raise ParamsError(f"--format {kind} writes {wanted}, but --out is {out}.")
    elif kind in _OWN:
        store.save_neurons(out, found)
    else:
        size = _write_foreign(found, kind, drop_unsupported, score_file, out)
    if size < len(found.neurons):
        click.echo(f"Left out {len(found.neurons) - size} neurons that {kind} has no place for.", err=True)
    pushed = {"commit": _pushed(found, out, repo)} if repo else {}
    value = {"out": out.as_posix(), "format": kind, "neurons": size, **pushed}
    emit(value, as_json, " → ".join([f"{size} neurons", str(out), *pushed.values()]))


@click.command("import")
@click.argument("file", type=FILE)
@click.option("--format", "kind", required=True, type=click.Choice([*_FOREIGN, "csv"]))
@click.option("--model", help="The model that the neurons belong to: hub id or folder, or package:NAME.")
@click.option("--revision", help="Hub revision.")
@click.option("--gguf-file", help="A GGUF file inside the model's folder or package.")
@click.option("--like", type=FILE, help="In place of --model: a neuron set or score file of that model.")
@click.option("--language", type=click.IntRange(0), help="For lape: which of its languages, counted from 0.")
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
    from ssn_eval import files, interchange, store

    for name, given, only in (("--language", language, "lape"), ("--min-score", min_score, "jsonl")):
        if given is not None and kind != only:
            raise ParamsError(f"{name} goes with --format {only}, not with {kind}.")
    if (model is None) == (like is None) or (like and (revision or gguf_file)):
        raise ParamsError("Give either --model (with --revision and --gguf-file), or --like with a file of that model.")
    if out.suffix not in (".json", ".safetensors"):
        raise ParamsError(f"A neuron set is written as .json or .safetensors; {out} has another ending.")
    if not file.is_file():  # said before a model is loaded for minutes
        raise interchange.missing(file, kind)
    ref = model_of(like) if like else load(spec(model or "", revision, gguf_file), "cpu", False).ref
    found = interchange.decode(file, kind, ref.geometry, language=language, min_score=min_score)
    asked = {"language": language, "min_score": min_score}
    source = {"format": kind, "file": file.name, "sha256": files.sha256(file)}
    made = {
        "what": "imported",
        "source": source | {name: value for name, value in asked.items() if value is not None},
        "notes": list(found.notes),
        "versions": store.versions(),
    }
    store.save_neurons(out, store.NeuronFile(found.neurons, ref, made))
    for note in found.notes:
        click.echo(note, err=True)
    size = len(found.neurons)
    emit({"out": out.as_posix(), "neurons": size, **made}, as_json, f"{size} neurons of {ref.id} → {out}")


def _refuse_before_writing(repo: str, kind: str) -> None:
    from ssn_eval import hub

    if kind == "hf":
        raise ParamsError("A model with neurons changed for good is not published from here; push the set itself.")
    hub.check(repo)


def _pushed(found: NeuronFile, out: Path, repo: str) -> str:
    from ssn_eval import publishing

    return publishing.push(out, repo, of=found)


def _write_folder(found: NeuronFile, kind: str, wanted: ModelSpec, op: str, neurons: Path, out: Path) -> None:
    """An adapter or a model; an existing folder is replaced only if it is one that was written so."""
    from ssn_eval import adapters, baking, interventions

    change = interventions.parse_op(op)
    there, what = ("adapter_config.json", "adapter") if kind == "peft" else (baking.PROVENANCE, "exported model")
    if out.exists() and not ((out / there).is_file() and (kind == "peft" or (out / "config.json").is_file())):
        raise ParamsError(f"{out} is there already and is no {what}; name a new folder for --out.")
    loaded = load(wanted, None, False)
    found.model.refuse_other(loaded.ref, str(neurons))
    if kind == "peft":
        made = {"untrained": True, **found.provenance}
        adapters.save(adapters.build(loaded.model, found.neurons), out, loaded.ref, made)
    else:
        baking.save(loaded, found.neurons, change, out, {"neurons": dict(found.provenance)})


def _write_foreign(found: NeuronFile, kind: str, drop: bool, score_file: Path | None, out: Path) -> int:
    """A file of another tool; returns how many neurons it holds."""
    from ssn_eval import files, interchange, store

    kept = interchange.carried(found.neurons, kind, drop=drop)
    scored = store.load_scores(score_file) if score_file else None
    if scored:
        scored.model.refuse_other(found.model, f"The score file {score_file}")
    data = interchange.encode(kept, kind, found.model.geometry, scored.scores if scored else None)
    with files.atomic(out) as temporary:
        temporary.write_bytes(data)
    return len(kept)
