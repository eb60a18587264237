"""Resuming a Trainer run after kill -9: a work folder that belongs to one run, and its newest complete checkpoint.

The work folder must lie outside the outputs of a DVC stage, because DVC removes outputs before it runs the stage again.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssn_eval.core import files, lock
from ssn_eval.core.errors import ParamsError
from ssn_eval.core.progress import Advance

if TYPE_CHECKING:
    from transformers import TrainerCallback


@contextmanager
def session(work: Path, fingerprint: str) -> Iterator[Path | None]:
    """Reserve the work folder for one run while the body trains; gives the checkpoint to resume from, as `prepare`.

    Raises:
        BusyError: another run trains there.
        DiskFullError: a checkpoint did not fit.
    """
    with lock.hold(work, "training"), files.told_when_full(work):
        yield prepare(work, fingerprint)


def prepare(work: Path, fingerprint: str) -> Path | None:
    """Keep the checkpoints of this run and remove all others.

    Args:
        work: the run's folder; made if it is not there.
        fingerprint: what a checkpoint must agree with to be resumed (recipe, data, versions).

    Returns:
        The newest complete checkpoint, or None to begin from the start.

    Raises:
        ParamsError: the folder is a link, and its target must not be removed.
    """
    if work.is_symlink():
        raise ParamsError(
            f"{work.as_posix()} is a link, and checkpoints are removed there; remove the link, or name another place."
        )
    mark = work / "fingerprint"
    if not mark.is_file() or mark.read_text(encoding="utf-8") != fingerprint:
        shutil.rmtree(work, ignore_errors=True)
        files.write_text(mark, fingerprint)
    return last_complete(work)


def last_complete(work: Path) -> Path | None:
    """The newest checkpoint that was written to its end (Trainer writes `trainer_state.json` last); removes cut-off ones."""
    for folder in sorted(work.glob("checkpoint-*"), key=step, reverse=True):
        try:
            json.loads((folder / "trainer_state.json").read_text(encoding="utf-8"))
        except (OSError, json.JSONDecodeError):
            shutil.rmtree(folder)
            continue
        return folder
    return None


def step(checkpoint: Path | None) -> int:
    """The number of steps before a checkpoint; 0 if there is none."""
    return int(checkpoint.name.split("-")[1]) if checkpoint else 0


def on_step(advance: Advance) -> TrainerCallback:
    """A Trainer callback that moves a progress bar, and saves no checkpoint after the last step.

    The result itself is saved after the last step, and a Trainer that resumes from there would train one step too many.
    """
    from transformers import TrainerCallback

    class Steps(TrainerCallback):
        """Moves the progress bar."""

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            advance()
            if state.global_step >= state.max_steps:
                control.should_save = False

    return Steps()
