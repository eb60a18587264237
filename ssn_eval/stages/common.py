"""What every stage does around its core call: read params, say what is missing, exit with one sentence."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ssn_eval import files, params
from ssn_eval.errors import MissingInputError, SsnError
from ssn_eval.params import Params
from ssn_eval.store import versions

PARAMS = Path("params.yaml")


def run(main: Callable[..., None]) -> None:
    """Run a stage on the command line's paths: `main(params, *paths)`; bad input ends with one sentence and exit code 2."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    warnings.filterwarnings("ignore", category=FutureWarning)
    logging.getLogger("transformers").setLevel(logging.ERROR)
    try:
        main(params.load(PARAMS), *map(Path, sys.argv[1:]))
    except SsnError as error:
        if not isinstance(error, SystemExit):
            print(f"ssn_eval: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except OSError as error:
        print(f"ssn_eval: {files.sentence(error)}", file=sys.stderr)
        sys.exit(SsnError.exit_code)


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
