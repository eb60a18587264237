"""The code around every stage: read params, name a missing input, end with one line, or with one sentence for a mistake."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import psutil

from ssn_eval.core import arithmetic, chatter, files, params
from ssn_eval.core.errors import MissingInputError
from ssn_eval.core.mistakes import EXIT_CODE, one_sentence
from ssn_eval.core.origin import versions
from ssn_eval.core.params import ORGANISM, Params
from ssn_eval.stages.story import TIMES, here, left, line, recorded

PARAMS = Path("params.yaml")
UNTRAINED = "untrained.json"
"""the file that takes the place of an adapter where a method has no neuron to train; it says why"""


def run_stage(main: Callable[..., str]) -> None:
    """Run a stage on the command line's paths, and print one line at its end; bad input ends with one sentence and exit code 2.

    `main(params, *paths)` returns what it did, with its number.

    A stage of the organism runs with the pinned arithmetic (`core/arithmetic.py`), and is started again for it if needed.
    """
    chatter.silence()
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    started = time.monotonic()
    with one_sentence(_stop):
        settings = params.load(PARAMS)
        if settings.model == ORGANISM:
            arithmetic.pin()
        did = main(settings, *map(Path, sys.argv[1:]))
        seconds = time.monotonic() - started
        _record(seconds)
    _tell(did, seconds, settings)


def _tell(did: str, seconds: float, settings: Params) -> None:
    """Print the line of a stage that DVC runs; a stage that is run by hand says what it did."""
    stage = (os.environ.get("DVC_STAGE") or "").rpartition(":")[2]
    names = here() if stage else []
    time_left = left(stage, names, recorded(), settings) if stage in names else None
    print(line(stage, did, seconds, names, time_left) if stage else did)


def _stop(sentence: str) -> NoReturn:
    print(f"ssn_eval: {sentence}", file=sys.stderr)
    sys.exit(EXIT_CODE)


def _record(seconds: float) -> None:
    """Write the stage's time and memory to `logs/stages/`, outside its outputs, so that equal inputs give equal bytes."""
    if not (name := os.environ.get("DVC_STAGE")):
        return  # run by hand
    process = psutil.Process()
    memory: Any = process.memory_info()
    try:
        import resource

        unit = 1 if sys.platform == "darwin" else 1024
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    except ImportError:  # Windows
        peak = memory.peak_wset
    spent = process.cpu_times()
    torch: Any = sys.modules.get("torch")
    cuda: Any = torch.cuda if torch is not None and torch.cuda.is_available() else None
    record = {
        "stage": name,
        "seconds": round(seconds, 1),
        "cpu_seconds": round(spent.user + spent.system, 1),
        "peak_memory": peak,
        "gpu": cuda.get_device_name() if cuda else None,
        "gpu_peak_memory": cuda.max_memory_allocated() if cuda else None,
    }
    files.write_json(TIMES / f"{name.rpartition(':')[2]}.json", record)


def need(path: Path, stage: str) -> Path:
    """A stage's input, or a sentence that says which stage makes it.

    Raises:
        MissingInputError: it is not there.
    """
    if not path.exists():
        raise MissingInputError(f"{path.as_posix()} is not there yet; run `dvc repro {stage}` first.")
    return path


def is_untrained(folder: Path) -> bool:
    """Whether a method's folder holds no model, because its set of neurons is empty."""
    return (folder / UNTRAINED).is_file()


def provenance(settings: Params, **inputs: Path) -> dict[str, Any]:
    """How an artefact was made: the model's key, params of the named inputs' hashes, versions. No time, no absolute path."""
    hashes = {name: {"path": files.portable(p.as_posix()), "sha256": files.sha256(p)} for name, p in inputs.items()}
    return {"model_key": settings.model, "inputs": hashes, "versions": versions()}
