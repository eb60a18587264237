"""A disk that fills up while something is written: one sentence, nothing half-written, what stood there before still stands.

The disk is a real one, a tmpfs of a few megabytes, where the system lets us mount it; elsewhere the limit on the size of a
process's files (RLIMIT_FSIZE) stands in for it, which every writer meets in the same way.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from models_on_disk import llama
from readers import GEOMETRY, MODEL, ROOT

from ssn_eval.core import files, params, store
from ssn_eval.core.files import DiskFullError
from ssn_eval.core.neurons import NeuronSet
from ssn_eval.core.processes import Share
from ssn_eval.exchange import baking
from ssn_eval.identification.accumulate import Progress, Sums
from ssn_eval.interventions import ops, reference
from ssn_eval.interventions.reference import PERCENTILES, Activations
from ssn_eval.models import deltas, lineage, loading, saving
from ssn_eval.prompts.jsonl import write_jsonl
from ssn_eval.prompts.pairs import Pair
from ssn_eval.prompts.prompt import Prompt
from ssn_eval.report import page
from ssn_eval.stages import repetitions
from ssn_eval.training.adapters.folder import save_adapter
from ssn_eval.training.adapters.neuron_lora import build
from ssn_eval.training.fit import fit

SIZE = 4 << 20
PAGE = 4096


@dataclass
class Disk:
    """A small disk, of which all but a part can be taken."""

    folder: Path

    def leave(self, room: int) -> None:
        """Fill it so that about `room` bytes are left."""
        self.free_all()
        space = os.statvfs(self.folder)
        with (self.folder / ".filler").open("wb") as handle:
            handle.write(b"\0" * max(0, space.f_bavail * space.f_frsize - room))

    def free_all(self) -> None:
        """Take the filling away."""
        (self.folder / ".filler").unlink(missing_ok=True)

    def names(self) -> set[str]:
        """Everything on it."""
        return {p.relative_to(self.folder).as_posix() for p in self.folder.rglob("*")} - {".filler"}


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """A tmpfs of four megabytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "none", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("this system lets us mount no tmpfs; test_files_that_may_not_grow stands in for it")
    yield Disk(folder)
    subprocess.run(["umount", "-l", str(folder)], check=True, capture_output=True)


@pytest.fixture(scope="module")
def loaded(tmp_path_factory) -> loading.Loaded:
    folder = tmp_path_factory.mktemp("model") / "model"
    llama(folder)
    return loading.load(loading.ModelSpec(str(folder)), device="cpu")


def _scores(out: Path, _: loading.Loaded) -> None:
    values = {key: np.ones(width, np.float32) for key, width in GEOMETRY.widths.items()}
    made = {"lang": "th", "long": "x" * 30_000}
    store.save_scores(out.with_suffix(".safetensors"), store.ScoreFile(values, MODEL, made))


def _neurons(ending: str) -> Callable[[Path, loading.Loaded], None]:
    many = NeuronSet.from_keys({"layers.0.q_proj": list(range(5000))})
    made = {"long": "x" * 30_000}
    return lambda out, _: store.save_neurons(out.with_suffix(ending), store.NeuronFile(many, MODEL, made))


def _adapter(out: Path, loaded: loading.Loaded) -> None:
    import copy

    fresh = copy.deepcopy(loaded.model)
    chosen = NeuronSet.from_keys({"layers.0.mlp": list(range(48)), "layers.1.mlp": list(range(48))})
    save_adapter(build(fresh, chosen), out, loaded.ref, {})


def _baked(out: Path, loaded: loading.Loaded) -> None:
    chosen = NeuronSet.from_keys({"layers.0.mlp": [0]})
    baking.save(loaded, [ops.Intervention(chosen, ops.SUPPRESS)], out, {})


def _merged(out: Path, loaded: loading.Loaded) -> None:
    saving.write(loaded, out, lineage.MERGED, {})


def _delta(out: Path, loaded: loading.Loaded) -> None:
    import torch

    weights = loaded.model.state_dict()
    patches = {name: deltas.Patch("rows", torch.arange(len(w)), w) for name, w in weights.items() if w.ndim == 2}
    deltas.save(out.with_suffix(".safetensors"), deltas.Delta(patches, loaded.ref))


def _reference(out: Path, _: loading.Loaded) -> None:
    width = GEOMETRY.widths["layers.0.q_proj"]
    said = Activations(np.arange(width), np.ones(width, np.float32), np.ones((PERCENTILES, width), np.float32))
    found = reference.Reference({"layers.0.q_proj": said}, MODEL, {"long": "x" * 30_000})
    reference.save(out.with_suffix(".safetensors"), found)


def _prompts(out: Path, _: loading.Loaded) -> None:
    write_jsonl(out, [Prompt(str(i), "th", "harmful", "how? " * 100) for i in range(200)])


def _report(out: Path, _: loading.Loaded) -> None:
    sys.path.insert(0, str(ROOT / "tests" / "integration"))
    import example_files

    results = out.parent.parent / "results"
    if not results.exists():
        example_files.results(results)
    with pytest.MonkeyPatch.context() as here:
        here.setattr(page, "rendered", _drawn_once)
        page.build(results, out)


_render, _figures = page.rendered, dict[tuple[str, ...], dict[str, page.Rendered]]()


def _drawn_once(drawn: Mapping[str, page.Drawn]) -> dict[str, page.Rendered]:
    """The figures of the report, which are the same in every try."""
    if (names := tuple(drawn)) not in _figures:
        _figures[names] = _render(drawn)
    return _figures[names]


def _sums(out: Path, _: loading.Loaded) -> None:
    sums = Sums.empty(dict.fromkeys(GEOMETRY.widths, 3000))
    Progress(out, {"run": 1}, Share()).save(sums)


WRITERS: dict[str, Callable[[Path, loading.Loaded], None]] = {
    "scores": _scores,
    "neurons.json": _neurons(".json"),
    "neurons.safetensors": _neurons(".safetensors"),
    "neurons.csv": _neurons(".csv"),
    "adapter": _adapter,
    "baked model": _baked,
    "merged model": _merged,
    "delta": _delta,
    "reference": _reference,
    "prompts": _prompts,
    "sums of an unfinished identification": _sums,
    "report": _report,
}
WHOLE_OR_NONE = {name for name in WRITERS if name != "report"}
"""a report is several files, each of them whole or none, and made anew in seconds: one try must do"""


def contents(folder: Path) -> dict[str, bytes]:
    return {
        p.relative_to(folder).as_posix(): p.read_bytes()
        for p in folder.rglob("*")
        if p.is_file() and p.name != ".filler"
    }


@pytest.mark.parametrize("name", WRITERS)
def test_every_writer(name, disk, loaded):
    """First with room for all; then with room for a part, onto an empty place and onto the old result."""
    write, out = WRITERS[name], disk.folder / "out"
    write(out, loaded)
    whole = contents(disk.folder)
    size = sum(len(content) for content in whole.values())
    assert size > 4 * PAGE
    shares = (0.0, 0.4, 0.8) if name in WHOLE_OR_NONE else (0.1,)
    for share in shares if name in WHOLE_OR_NONE else ():
        disk.leave(int(size * share) // PAGE * PAGE)
        with pytest.raises(DiskFullError, match="The disk is full: .*Make room"):
            write(out, loaded)
        if name in WHOLE_OR_NONE:
            assert contents(disk.folder) == whole, "the old result stands"
    for p in disk.folder.iterdir():
        shutil.rmtree(p) if p.is_dir() else p.unlink()
    for share in shares:
        disk.leave(int(size * share) // PAGE * PAGE)
        with pytest.raises(DiskFullError):
            write(out, loaded)
        found = contents(disk.folder)
        assert not [p for p in disk.names() if p.endswith(".tmp")]
        assert found.items() <= whole.items() and (not found or name not in WHOLE_OR_NONE), "half-written"
    disk.free_all()
    write(out, loaded)
    assert contents(disk.folder) == whole, "the same command works once there is room"


def _pairs() -> list[Pair]:
    return [Pair(str(i), "th", "harmful", f"how {i}?", "no") for i in range(4)]


@pytest.mark.parametrize("room", [0, 200_000])
def test_training_says_so_and_goes_on_when_there_is_room(room, disk, loaded):
    """Checkpoints are written by transformers and torch, whose errors name no disk."""
    import copy

    settings, work = params.TrainParams(steps=4, batch_size=2), disk.folder / ".work-ssn"
    everything = copy.deepcopy(loaded.model)
    disk.leave(room)
    with pytest.raises(DiskFullError, match="work-ssn"):
        fit(everything, loaded.tokenizer, _pairs(), settings, lr=1e-3, work=work)
    disk.free_all()
    again, undisturbed = copy.deepcopy(loaded.model), copy.deepcopy(loaded.model)
    curve = fit(again, loaded.tokenizer, _pairs(), settings, lr=1e-3, work=work)
    shutil.rmtree(work)  # as the caller does, once the result is saved
    whole = fit(undisturbed, loaded.tokenizer, _pairs(), settings, lr=1e-3, work=disk.folder / "other")
    assert curve == whole


def test_the_organism(disk):
    from ssn_eval.organism.lexicon import load
    from ssn_eval.organism.settings import OrganismSettings
    from ssn_eval.organism.training import train

    disk.leave(700_000)
    recipe = OrganismSettings(steps=2, warmup_steps=1, checkpoint_every=1)
    with pytest.raises(DiskFullError):
        train(load(), recipe, disk.folder / "weights", disk.folder / ".work")
    assert not (disk.folder / "weights").exists()


def test_claims(disk, tmp_path):
    project = tmp_path / "project"
    for name in repetitions.LINKED:
        (project / name).mkdir(parents=True)
    shutil.copy(ROOT / "params.yaml", project)
    disk.leave(0)
    with pytest.raises(DiskFullError):
        repetitions.run(project, disk.folder / "claims", [0, 1])
    assert not list(disk.folder.rglob("params.yaml"))


def run(code: list[str], cwd: Path, **more: Any) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *code],
        cwd=cwd,
        capture_output=True,
        text=True,
        env=environment,
        timeout=120,
        check=False,
        **more,
    )


def prompt_file(path: Path) -> Path:
    rows = [{"id": str(i), "lang": "th", "label": "harmful", "prompt": f"how {i}"} for i in range(2)]
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def test_a_command_ends_with_one_sentence_and_exit_code_2(disk, tmp_path):
    llama(tmp_path / "model")
    prompt_file(tmp_path / "p.jsonl")
    disk.leave(0)
    words = [
        "identify",
        "--model",
        str(tmp_path / "model"),
        "--prompts",
        str(tmp_path / "p.jsonl"),
        "--lang",
        "th",
        "--quiet",
    ]
    done = run(["-m", "ssn_eval.cli", *words, "--out", str(disk.folder / "th.safetensors")], tmp_path)
    assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
    assert "disk is full" in done.stderr or "No space left" in done.stderr
    assert disk.names() <= {".th.safetensors.work"}


def test_a_stage_ends_with_one_sentence_and_exit_code_2(disk, tmp_path):
    """`select` on a full disk, started as the pipeline starts it."""
    shutil.copy(ROOT / "params.yaml", tmp_path)
    ref = MODEL
    for lang in ("en", "zh", "th", "bn", "sw", "jv"):
        for n, label in enumerate(("harmful", "harmless")):
            values = {
                k: np.roll(np.arange(1, w + 1, dtype=np.float32), n + len(lang)) for k, w in GEOMETRY.widths.items()
            }
            made = {"lang": lang, "label": label, "reliability": {}}
            for where in (tmp_path / lang, tmp_path / lang / "halves" / "0", tmp_path / lang / "halves" / "1"):
                store.save_scores(where / f"{label}.safetensors", store.ScoreFile(values, ref, made))
    (tmp_path / "scores").mkdir()
    for lang in ("en", "zh", "th", "bn", "sw", "jv"):
        (tmp_path / lang).rename(tmp_path / "scores" / lang)
    disk.leave(0)
    words = ["-m", "ssn_eval.stages.select", "scores", str(disk.folder / "sets"), str(disk.folder / "select.json")]
    done = run(words, tmp_path)
    assert done.returncode == 2 and "disk is full" in done.stderr and "Traceback" not in done.stderr, done.stderr
    assert disk.names() == set()


def test_files_that_may_not_grow(tmp_path):
    """RLIMIT_FSIZE: works without any right, and gives another error than a full disk does (EFBIG)."""
    code = "from pathlib import Path; from ssn_eval.core import files; files.write_text(Path('x.txt'), 'x' * 100_000)"
    code = f"try:\n    {code}\nexcept Exception as error:\n    print(type(error).__name__, error)"

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))

    (tmp_path / "x.txt").write_text("old")
    done = run(["-c", code], tmp_path, preexec_fn=limit)
    assert done.stdout.startswith("DiskFullError The disk is full"), done.stderr
    assert (tmp_path / "x.txt").read_text() == "old" and [p.name for p in tmp_path.iterdir()] == ["x.txt"]


def test_a_write_that_fails_in_the_middle(tmp_path, monkeypatch):
    """The system's write fails after some bytes, wherever that is."""
    real = os.replace

    def no_room(*_: object) -> None:
        raise OSError(28, "No space left on device")

    files.write_text(tmp_path / "x.txt", "old")
    monkeypatch.setattr(os, "replace", no_room)
    monkeypatch.setattr(Path, "replace", no_room)
    with pytest.raises(DiskFullError):
        files.write_text(tmp_path / "x.txt", "new")
    monkeypatch.setattr(os, "replace", real)
    assert (tmp_path / "x.txt").read_text() == "old" and len(list(tmp_path.iterdir())) == 1
