"""Stage 0 of a project that `ssn init` wrote: which ssn_eval is installed. OUT.

It runs each time and loads no heavy library; the stages after it depend on the hashes that it writes.
"""

from __future__ import annotations

import os
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import NoReturn

from ssn_eval.core import files
from ssn_eval.core.errors import SsnError
from ssn_eval.core.mistakes import EXIT_CODE, one_sentence
from ssn_eval.stages.project.parts import hash_of, parts
from ssn_eval.stages.project.pipeline import of_project, packaged
from ssn_eval.stages.story import here, line

PIPELINE = Path("dvc.yaml")


class OtherPipelineError(SsnError):
    """The project's pipeline names a part that the installed package does not have."""


def main(out: Path) -> str:
    """Write `OUT/version.txt` and `OUT/<part>.sha256`, and warn if the project's pipeline is that of another version.

    Returns:
        Which version is installed.

    Raises:
        OtherPipelineError: a stage depends on a part that the installed package does not have.
    """
    installed = version("ssn-eval")
    text = files.read_text(PIPELINE, "the project's pipeline")
    hashes = {f"{out.as_posix()}/{name}.sha256": hash_of(part) for name, part in parts().items()}
    named = {line.strip().removeprefix("- ") for line in text.splitlines() if line.strip().endswith(".sha256")}
    if not named <= set(hashes):
        raise OtherPipelineError(
            f"{PIPELINE} names {min(named - set(hashes))}, which ssn-eval {installed} does not have. {_renew(installed)}"
        )
    if _body(text) != _body(of_project(packaged("dvc.yaml"), installed)):
        print(f"ssn_eval: {PIPELINE} is not the one of ssn-eval {installed}. {_renew(installed)}", file=sys.stderr)
    files.write_text(out / "version.txt", f"{installed}\n")
    for name, digest in hashes.items():
        files.write_text(Path(name), f"{digest}\n")
    return f"ssn-eval {installed} is installed"


def _body(text: str) -> str:
    """A `dvc.yaml` without its first line, which names the version that wrote it."""
    return text.partition("\n")[2]


def _renew(installed: str) -> str:
    return (
        f"If you did not edit it, write the one of {installed}: `ssn init other` with your model and languages, and copy "
        f"other/{PIPELINE} here."
    )


def _stop(sentence: str) -> NoReturn:
    print(f"ssn_eval: {sentence}", file=sys.stderr)
    sys.exit(EXIT_CODE)


if __name__ == "__main__":
    started = time.monotonic()
    with one_sentence(_stop):
        did = main(Path(sys.argv[1]))
    stage = (os.environ.get("DVC_STAGE") or "code").rpartition(":")[2]
    print(line(stage, did, time.monotonic() - started, here(), None))
