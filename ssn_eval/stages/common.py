"""What every stage does around its core call: read params, say what is missing, exit with one sentence."""

from __future__ import annotations

import logging
import os
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from ssn_eval.core import arithmetic, files, params
from ssn_eval.core.errors import MissingInputError, SsnError
from ssn_eval.core.origin import versions
from ssn_eval.core.params import ORGANISM, Params

PARAMS = Path("params.yaml")
TIMES = Path("logs/stages")
"""a JSON file for each stage that ran here: what it took; `ssn report` shows it"""


def run_stage(main: Callable[..., None]) -> None:
    """Run a stage on the command line's paths: `main(params, *paths)`; bad input ends with one sentence and exit code 2.

    A stage of the organism runs with the pinned arithmetic (`core/arithmetic.py`), and is started again for it where need be.
    """
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    warnings.filterwarnings("ignore", category=FutureWarning)
    logging.getLogger("transformers").setLevel(logging.ERROR)
    started = time.monotonic()
    try:
        settings = params.load(PARAMS)
        if settings.model == ORGANISM:
            arithmetic.pin()
        main(settings, *map(Path, sys.argv[1:]))
        _record(time.monotonic() - started)
    except SsnError as error:
        if not isinstance(error, SystemExit):
            print(f"ssn_eval: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except OSError as error:
        print(f"ssn_eval: {files.sentence(error)}", file=sys.stderr)
        sys.exit(SsnError.exit_code)


def _record(seconds: float) -> None:
    """What the stage took, in `logs/stages/`: beside the outputs and in none of them, so that equal inputs give equal bytes."""
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
    found = {
        "stage": name,
        "seconds": round(seconds, 1),
        "cpu_seconds": round(spent.user + spent.system, 1),
        "peak_memory": peak,
        "gpu": cuda.get_device_name() if cuda else None,
        "gpu_peak_memory": cuda.max_memory_allocated() if cuda else None,
    }
    files.write_json(TIMES / f"{name.rpartition(':')[2]}.json", found)


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
    hashes = {name: {"path": p.as_posix(), "sha256": files.sha256(p)} for name, p in inputs.items()}
    return {"model_key": settings.model, "inputs": hashes, "versions": versions()}
