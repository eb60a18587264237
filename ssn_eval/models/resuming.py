"""Resume a Trainer run that was killed, from the newest complete checkpoint in the work folder of the run.

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
    """Reserve the work folder for one run while the body trains; yield the checkpoint of `prepare`.

    Raises:
        BusyError: another run uses the folder.
        DiskFullError: a checkpoint did not fit.
    """
    with lock.hold(work, "training"), files.told_when_full(work):
        yield prepare(work, fingerprint)


def prepare(work: Path, fingerprint: str) -> Path | None:
    """Keep the checkpoints of this run and remove all others.

    Args:
        work: the run's folder; it is created if it does not exist.
        fingerprint: text that identifies the run (recipe, data, versions); checkpoints of another fingerprint are removed.

    Returns:
        The newest complete checkpoint, or None if training starts from the beginning.

    Raises:
        ParamsError: the folder is a link; its target must not be removed.
    """
    if work.is_symlink():
        raise ParamsError(
            f"{work.as_posix()} is a link, but old checkpoints are removed there; remove the link, or name another folder."
        )
    fingerprint_file = work / "fingerprint"
    if not fingerprint_file.is_file() or fingerprint_file.read_text(encoding="utf-8") != fingerprint:
        shutil.rmtree(work, ignore_errors=True)
        files.write_text(fingerprint_file, fingerprint)
    return last_complete(work)


def last_complete(work: Path) -> Path | None:
    """The newest complete checkpoint, or None; newer incomplete ones are removed. Trainer writes `trainer_state.json` last."""
    for folder in sorted(work.glob("checkpoint-*"), key=step, reverse=True):
        try:
            json.loads((folder / "trainer_state.json").read_text(encoding="utf-8"))
        except (OSError, json.JSONDecodeError):
            shutil.rmtree(folder)
            continue
        return folder
    return None


def step(checkpoint: Path | None) -> int:
    """The number of training steps of a checkpoint; 0 for None."""
    return int(checkpoint.name.split("-")[1]) if checkpoint else 0


def on_step(advance: Advance) -> TrainerCallback:
    """A Trainer callback that moves a progress bar and prevents a checkpoint after the last step.

    The result itself is saved then. A Trainer that resumes from a checkpoint of the last step trains one step too many.
    """
    from transformers import TrainerCallback

    class Steps(TrainerCallback):
        """Moves the progress bar."""

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            advance()
            if state.global_step >= state.max_steps:
                control.should_save = False

    return Steps()
