"""The code around every stage: read params, name a missing input, exit with one sentence."""

from __future__ import annotations

import logging
import os
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import psutil

from ssn_eval.core import arithmetic, files, params
from ssn_eval.core.errors import MissingInputError
from ssn_eval.core.mistakes import EXIT_CODE, one_sentence
from ssn_eval.core.origin import versions
from ssn_eval.core.params import ORGANISM, Params

PARAMS = Path("params.yaml")
TIMES = Path("logs/stages")
"""a JSON file for each stage that ran here: what it took; `ssn report` shows it"""


def run_stage(main: Callable[..., None]) -> None:
    """Run a stage on the command line's paths: `main(params, *paths)`; bad input ends with one sentence and exit code 2.

    A stage of the organism runs with the pinned arithmetic (`core/arithmetic.py`), and is started again for it if needed.
    """
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    if sys.stderr is None or not sys.stderr.isatty():
        os.environ.setdefault("TQDM_DISABLE", "1")  # the bars of other libraries, which a log repeats line by line
    warnings.filterwarnings("ignore", category=FutureWarning)
    logging.getLogger("transformers").setLevel(logging.ERROR)
    started = time.monotonic()
    with one_sentence(_stop):
        settings = params.load(PARAMS)
        if settings.model == ORGANISM:
            arithmetic.pin()
        main(settings, *map(Path, sys.argv[1:]))
        _record(time.monotonic() - started)


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


def provenance(settings: Params, **inputs: Path) -> dict[str, Any]:
    """How an artefact was made: the model's key, params of the named inputs' hashes, versions. No time, no absolute path."""
    hashes = {name: {"path": files.portable(p.as_posix()), "sha256": files.sha256(p)} for name, p in inputs.items()}
    return {"model_key": settings.model, "inputs": hashes, "versions": versions()}
