"""The checks of `ssn doctor`: one function for each, with its finding and how to repair it. Nothing is changed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ssn_eval.core.settings import TrainParams
from ssn_eval.stages import dvclock

if TYPE_CHECKING:
    from ssn_eval.models.loading import ModelSpec
    from ssn_eval.training.memory import Demand

Status = Literal["ok", "warning", "failed"]
GIB = 1 << 30
HUB_TIMEOUT = 3.0
"""seconds that the hub may take"""
DVC_TIMEOUT = 60.0
"""seconds that `dvc status` may take; it hashes what changed"""


@dataclass(frozen=True)
class Check:
    """The result of one check."""

    name: str
    status: Status
    found: str
    mend: str | None = None
    """what to do about it, where something is to be done"""

    def to_json(self) -> dict[str, Any]:
        """Without the name, which is the key."""
        return {k: v for k, v in asdict(self).items() if k != "name"}


def versions(distribution: str = "ssn-eval") -> Iterator[Check]:
    """Python and every required package against the range that our own metadata names."""
    from packaging.requirements import Requirement
    from packaging.specifiers import SpecifierSet

    python = ".".join(map(str, sys.version_info[:3]))
    try:
        python_range = metadata.metadata(distribution)["Requires-Python"] or ""
        requirements = [Requirement(line) for line in metadata.requires(distribution) or ()]
    except metadata.PackageNotFoundError:
        yield Check(
            "versions", "failed", "ssn-eval is not installed", "pip install ssn-eval (or -e . in its source tree)"
        )
        return
    good = SpecifierSet(python_range).contains(python)
    yield Check("python", "ok" if good else "failed", python, None if good else f"use a Python of {python_range}")
    problems: list[tuple[str, str]] = []
    for requirement in requirements:
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        version = _version(requirement.name)
        if version is None or not requirement.specifier.contains(version, prereleases=True):
            problems.append(
                (f"{requirement.name} {version or 'missing'}", f"'{requirement.name}{requirement.specifier}'")
            )
    if problems:
        sentences, mend = zip(*problems, strict=True)
        yield Check("packages", "failed", ", ".join(sentences), f"pip install {' '.join(mend)}")
    else:
        main = (f"{name} {_version(name)}" for name in ("torch", "transformers", "lm-eval", "peft"))
        yield Check("packages", "ok", ", ".join(main))


def torch_device() -> Check:
    """The device of torch, and whether it computes."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.ones(2, 2, device=device).matmul(torch.ones(2, 2, device=device))
    except RuntimeError as error:
        return Check(
            "torch", "failed", f"{device}: {str(error).splitlines()[0]}", "reinstall torch for this machine's driver"
        )
    if device == "cpu" and shutil.which("nvidia-smi"):
        mend = "install a torch that is built for this machine's CUDA driver"
        return Check("torch", "warning", "cpu, though there is an NVIDIA driver", mend)
    if device == "cpu":
        return Check("torch", "ok", f"cpu, {torch.get_num_threads()} threads; a GPU is advised above 1 billion weights")
    return Check("torch", "ok", f"{torch.cuda.device_count()} × {torch.cuda.get_device_name()}")


def lm_eval() -> Iterator[Check]:
    """Whether lm_eval finds our model and tasks by itself."""
    mend = "reinstall with pip into this environment's site-packages, and unset SSN_EVAL_AUTOLOAD"
    try:
        import lm_eval.models  # noqa: F401  (its import is what registers us)
        from lm_eval.api.registry import model_registry
        from lm_eval.tasks import TaskManager

        registrations = {"ssn_hf": "ssn_hf" in model_registry, "our tasks": "multijail" in TaskManager().all_tasks}
    except ImportError as error:
        registrations, mend = {"ssn_hf": False, "our tasks": False}, f"pip install lm-eval ({error})"
    for name, good in registrations.items():
        answer = "yes" if good else "no"
        yield Check(f"lm_eval sees {name}", "ok" if good else "failed", answer, None if good else mend)


def hub() -> Check:
    """Whether the model hub answers; being offline is no failure, since folders and the cache still work."""
    offline = "what is in the cache or in a folder still works; for more, connect or set HTTPS_PROXY"
    if os.environ.get("HF_HUB_OFFLINE", "") not in ("", "0"):
        return Check("hub", "warning", "switched off by HF_HUB_OFFLINE", offline)
    import urllib.error
    import urllib.request

    from huggingface_hub.constants import ENDPOINT

    try:
        with urllib.request.urlopen(f"{ENDPOINT}/api/models?limit=1", timeout=HUB_TIMEOUT):
            return Check("hub", "ok", "reachable")
    except (urllib.error.URLError, OSError, ValueError) as error:
        reason = str(getattr(error, "reason", error)) or type(error).__name__
        return Check("hub", "warning", f"not reachable ({reason[:80]})", offline)


def dvc(folder: Path) -> Check:
    """Whether DVC is installed, and the state of the pipeline in the folder, if there is one."""
    if _version("dvc") is None:
        return Check("dvc", "failed", "not installed", "pip install dvc")
    if not (folder / "dvc.yaml").is_file():
        return Check("dvc", "ok", f"{_version('dvc')}; no pipeline in this folder")
    if not (folder / ".dvc").is_dir():
        return Check("dvc", "failed", "a pipeline, but no .dvc beside it", "git init && dvc init")
    if dvclock.is_damaged(folder):
        found = f"{dvclock.NAME} is damaged, as DVC leaves it when it is killed while it writes it"
        mend = f"delete {dvclock.NAME}, then dvc repro: what had finished comes from DVC's cache"
        return Check("dvc", "failed", found, mend)
    command = [sys.executable, "-m", "dvc", "status", "--json", "dvc.yaml"]  # not the imports, which ask the network
    process = None
    try:
        process = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=DVC_TIMEOUT, check=False)
        statuses = json.loads(process.stdout)
    except subprocess.TimeoutExpired:
        return Check("dvc", "warning", f"dvc status took more than {DVC_TIMEOUT:.0f} s", "run dvc status to see why")
    except ValueError:
        message = next(iter(process.stderr.strip().splitlines()), "nothing") if process else "nothing"
        return Check(
            "dvc", "failed", f"dvc status said: {message[:120]}", "run dvc status; if another dvc runs, wait for it"
        )
    statuses = [stage for stage, changes in statuses.items() if changes != ["always changed"]]
    if statuses:
        return Check("dvc", "warning", f"{len(statuses)} stage{'s' * (len(statuses) != 1)} not up to date", "dvc repro")
    return Check("dvc", "ok", f"{_version('dvc')}; the pipeline is up to date")


def cache() -> Check:
    """Whether the hub's cache can be written."""
    from huggingface_hub.constants import HF_HUB_CACHE

    return _writable("cache", Path(HF_HUB_CACHE), "set HF_HOME to a folder that you may write")


def disk(folder: Path, need: float = 0) -> Check:
    """The free space of the disk; `need` is the number of bytes that a run writes."""
    written = _writable("disk", folder, "work in a folder that you may write")
    if written.status != "ok":
        return written
    free = shutil.disk_usage(folder).free
    least = max(GIB, need)
    sentence = f"{free / GIB:.1f} GiB free here"
    if free < least:
        return Check("disk", "failed", sentence, f"make room: {least / GIB:.1f} GiB are needed")
    return Check(
        "disk", "ok" if free > 4 * least else "warning", sentence, None if free > 4 * least else "make room soon"
    )


def memory(spec: ModelSpec, device: str | None = None) -> Iterator[Check]:
    """The memory that a model needs, from its config alone, and the free memory of the device."""
    import torch

    from ssn_eval.models import loading, memory
    from ssn_eval.training import ways

    config, itemsize = loading.config_of(spec)
    place = torch.device(device or loading.default_device())
    free = memory.free({place})
    shape = memory.shape(config, memory.count_parameters(config))
    mends = {
        "generate": "use a smaller dtype (bfloat16), a quantized model, or device_map=auto over several GPUs",
        "identify": "use a smaller --batch-size, --checkpointing, or device_map=auto over several GPUs",
    }
    for use in memory.uses(shape, itemsize):
        sentence = (
            f"about {memory.gib(use.need)} for {use.batch} × {use.tokens} tokens; {memory.gib(free)} free on {place}"
        )
        is_enough = use.need <= free
        yield Check(
            f"memory: {use.name}", "ok" if is_enough else "failed", sentence, None if is_enough else mends[use.name]
        )
    settings = TrainParams()
    for name, demand in ways.demands(shape, itemsize).items():
        yield _training(name, demand, settings, free, f"{memory.gib(free)} free on {place}")


def _training(name: str, demand: Demand, settings: TrainParams, free: float, room: str) -> Check:
    """Whether a method of training fits, in which steps, and what has to be set for it."""
    from ssn_eval.models.memory import gib
    from ssn_eval.training import ways

    tokens = settings.max_length
    whole = (
        demand.weights() + demand.fixed(settings)
    ) + demand.sequences * settings.batch_size * tokens * demand.token(settings)
    beginning = f"about {gib(whole)} for a step of {settings.batch_size} × {tokens} tokens in one pass; {room}"
    found = ways.way(demand, settings, tokens, free)
    if found is None:
        mend = "train neurons instead (train.methods=[ssn])" if name != "neurons" else "use a smaller dtype (bfloat16)"
        return Check(
            f"memory: train {name}", "warning", beginning, f"{mend}, or use larger GPUs; no setting makes it fit"
        )
    made = f"{found.plan.accumulation} × {found.plan.micro_batch} pairs" + ", checkpointing" * found.plan.checkpointing
    sentence = (
        beginning if found.plan.is_plain and not found.changes else f"{beginning}; it fits as {made}: {gib(found.need)}"
    )
    if not found.changes:
        return Check(f"memory: train {name}", "ok", sentence, None)
    return Check(
        f"memory: train {name}", "warning", sentence, f"set {' and '.join(found.changes)} (docs/howto/many-gpus.md)"
    )


def weight_room(spec: ModelSpec) -> float:
    """Bytes on the disk that a run on this model writes: a download and one full checkpoint."""
    from ssn_eval.models import loading, memory

    config, itemsize = loading.config_of(spec)
    return 2.0 * memory.count_parameters(config) * itemsize


def worst(checks: Iterable[Check]) -> Status:
    """The worst status."""
    statuses = {check.status for check in checks}
    return "failed" if "failed" in statuses else "warning" if "warning" in statuses else "ok"


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _writable(name: str, folder: Path, mend: str) -> Check:
    """Write a file: only this shows permissions, read-only mounts and quotas."""
    place = folder
    while not place.exists() and place != place.parent:
        place = place.parent
    try:
        with tempfile.TemporaryFile(dir=place) as handle:
            handle.write(b"0" * 4096)
            handle.flush()
    except OSError as error:
        return Check(name, "failed", f"{folder.as_posix()} cannot be written: {error.strerror or error}", mend)
    return Check(name, "ok", "writable")
