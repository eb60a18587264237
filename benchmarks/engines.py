"""The same generations by `hf`, `ssn_hf`, `vllm` and `ssn_vllm`: time, memory, and whether the verdicts agree.

`python benchmarks/engines.py --path FOLDER [--prompts 400] [--tokens 64]` prints one JSON object. It runs where vLLM is installed
(`make test-vllm` makes such an environment). Each engine runs in a process of its own, one after the other, with the same rendered
MultiJail prompts (SSN_DATA_DIR) in four languages. Every reply has the same number of tokens, so that a model that says less is not
faster. `ssn_hf` and `ssn_vllm` suppress one neuron in 33 of every site. Start-up is told apart; that of `ssn_vllm` includes writing
the weights. Each engine is also printed to stderr as soon as it is measured. Times are CPU seconds of the process and its children on
a CPU (a busy machine stretches wall time), wall seconds on a GPU; of several repeats the least. Memory is the largest sum of the
resident memory of the process and its children.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import psutil
from subjects import machine

ENGINES = ("hf", "ssn_hf", "vllm", "ssn_vllm")
LANGS = ("en", "zh", "vi", "sw")
SHARE = 33
"""one neuron in 33, which is 3 %"""
TEXTS = ("verdicts", "replies")
SERVED_BAR, HOOKED_BAR, AGREEMENT_BAR = 1.05, 1.0, 0.95


def main() -> None:
    """Measure and print; with `--check`, exit with 1 if a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--path", required=True, help="the folder or hub id of a chat model")
    parser.add_argument("--prompts", type=int, default=400)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--batch", type=int, default=16, help="of hf and ssn_hf; vLLM makes its own batches")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--max-model-len", type=int, default=1024)
    parser.add_argument("--compile", action="store_true", help="vLLM compiles the model (minutes on a CPU)")
    parser.add_argument("--engines", default=",".join(ENGINES), help="only these")
    parser.add_argument(
        "--keep", type=Path, help="a folder for finished engines; the same command again measures the others"
    )
    parser.add_argument("--quick", action="store_true", help="8 prompts of 8 tokens")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--one", choices=ENGINES, help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.quick:
        options.prompts, options.tokens = 8, 8
    if options.one:
        print("\n" + json.dumps(measure(options)))
        return
    with tempfile.TemporaryDirectory() as temporary:
        found = {name: kept(name, Path(temporary), options.keep) for name in options.engines.split(",")}
    result = summary(found)
    asked = {
        name: getattr(options, name) for name in ("prompts", "tokens", "batch", "repeats", "max_model_len", "compile")
    }
    print(json.dumps({"model": Path(options.path).name, **asked, **result, "machine": machine()}))
    if options.check and (missed := misses(result)):
        sys.exit(f"Missed: {', '.join(missed)}.")


def kept(name: str, work: Path, folder: Path | None) -> dict[str, Any]:
    """What `in_its_own_process` returns for one engine, or returned in an earlier run of the same command."""
    command = [word for word in sys.argv[1:] if word != "--check"]
    file = folder / f"{name}.json" if folder else None
    if file and file.is_file() and (finished := json.loads(file.read_text()))["command"] == command:
        return finished["measured"]
    measured = in_its_own_process(name, work)
    if file:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps({"command": command, "measured": measured}))
    return measured


def in_its_own_process(name: str, work: Path) -> dict[str, Any]:
    """What `measure` returns for one engine, and the largest memory of its processes."""
    environment = {**os.environ, "SSN_CACHE_DIR": str(work / "cache"), "VLLM_LOGGING_LEVEL": "ERROR"}
    with (work / "errors").open("w") as errors:
        command = [sys.executable, __file__, *sys.argv[1:], "--one", name, "--work", str(work)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment)
        peak = [0]
        watcher = threading.Thread(target=watch, args=(process.pid, peak), daemon=True)
        watcher.start()
        printed, _ = process.communicate()
        watcher.join()
    if process.returncode:
        sys.exit(f"{name} ended with {process.returncode}:\n{(work / 'errors').read_text()[-2000:]}")
    measured = {**json.loads(printed.strip().splitlines()[-1]), "peak_memory": peak[0]}
    print(json.dumps({name: without_texts(measured)}), file=sys.stderr, flush=True)
    return measured


def watch(process: int, peak: list[int]) -> None:
    """Keep the largest memory of a process and its children, until it ends."""
    while psutil.pid_exists(process):
        try:
            top = psutil.Process(process)
            if top.status() == psutil.STATUS_ZOMBIE:
                return
            peak[0] = max(peak[0], sum(one.memory_info().rss for one in (top, *top.children(recursive=True))))
        except psutil.NoSuchProcess:
            pass
        time.sleep(0.25)


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """One engine: seconds to start, seconds to answer, and a verdict on every reply."""
    import torch
    from lm_eval.api.instance import Instance

    from ssn_eval.judges.registry import get_judge
    from ssn_eval.judges.verdict import Exchange

    started = time.monotonic()
    lm = open_engine(options)
    start_seconds = time.monotonic() - started
    settings: dict[str, Any] = {"until": [], "max_gen_toks": options.tokens, "do_sample": False}
    settings["min_tokens" if options.one.endswith("vllm") else "min_new_tokens"] = options.tokens
    prompts = chosen(options.prompts)
    texts = [lm.apply_chat_template([{"role": "user", "content": prompt}]) for _, prompt in prompts]
    requests = [Instance("generate_until", {}, (text, settings), i, ("engines", i, 1)) for i, text in enumerate(texts)]
    lm.generate_until(requests[:2], disable_tqdm=True)  # a warm-up
    wall, cpu, replies = [], [], []
    for _ in range(options.repeats):
        if options.one.endswith("vllm"):
            lm.model.reset_prefix_cache()
        began, before = time.monotonic(), cpu_seconds()
        replies = lm.generate_until(requests, disable_tqdm=True)
        wall.append(time.monotonic() - began)
        cpu.append(cpu_seconds() - before)
    verdicts = get_judge("refusal").judge(
        [Exchange(prompt, reply, lang) for (lang, prompt), reply in zip(prompts, replies, strict=True)]
    )
    return {
        "start_seconds": round(start_seconds, 1),
        "wall_seconds": round(min(wall), 2),
        "cpu_seconds": round(min(cpu), 2),
        "on_gpu": torch.cuda.is_available(),
        "tokens_per_second": round(options.prompts * options.tokens / min(wall), 1),
        "verdicts": [None if v.refusal is None else int(v.refusal) for v in verdicts],
        "replies": replies,
    }


def open_engine(options: argparse.Namespace) -> Any:
    """The model class of lm_eval's or ours, with the model loaded."""
    from ssn_eval.core import store
    from ssn_eval.core.neurons import NeuronSet
    from ssn_eval.core.store import NeuronFile
    from ssn_eval.models import loading

    served = {"max_model_len": options.max_model_len, "enforce_eager": not options.compile, "batch_size": "auto"}
    hooked = {"batch_size": options.batch}
    dtype = str(loading.config_of(loading.ModelSpec(options.path))[0].dtype).removeprefix("torch.")
    if options.one == "hf":
        from lm_eval.models.huggingface import HFLM

        stock: Any = HFLM
        return stock(options.path, dtype=dtype, **device(), **hooked)
    if options.one == "vllm":
        from ssn_eval.harness.served import library

        return library.base_class()(options.path, dtype=dtype, **served)
    neurons = options.work / "neurons.json"
    if not neurons.is_file():
        ref = loading.identity(loading.ModelSpec(options.path))
        found = NeuronSet.from_keys({key: range(0, width, SHARE) for key, width in ref.geometry.widths.items()})
        store.save_neurons(neurons, NeuronFile(found, ref))
    condition = {"neurons": str(neurons), "op": "suppress", "dtype": dtype}
    if options.one == "ssn_hf":
        from ssn_eval.harness.model import SsnHFLM

        return SsnHFLM(options.path, **condition, **hooked)
    from ssn_eval.harness.served.model import SsnVLLM

    return SsnVLLM(options.path, **condition, **served)


def device() -> dict[str, str]:
    """The device of stock `hf`, whose own default is a GPU on every machine."""
    import torch

    return {} if torch.cuda.is_available() else {"device": "cpu"}


def chosen(count: int) -> list[tuple[str, str]]:
    """Language and text of harmful prompts, equally many of each language, the shortest first."""
    from ssn_eval.prompts.reading import read_prompts

    found = []
    for position, lang in enumerate(LANGS):
        share = count // len(LANGS) + (position < count % len(LANGS))
        texts = sorted((p.prompt for p in read_prompts("multijail", (lang,))), key=len)
        found += [(lang, texts[i % len(texts)]) for i in range(share)]
    return found


def cpu_seconds() -> float:
    """The CPU time of this process and its children."""
    top = psutil.Process()
    return sum(sum(one.cpu_times()[:2]) for one in (top, *top.children(recursive=True)))


def summary(found: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The engines without their texts, and what they say about each other."""
    result: dict[str, Any] = {"engines": {name: without_texts(one) for name, one in found.items()}}
    for name, first, second in (("served", "ssn_vllm", "vllm"), ("hooked", "ssn_hf", "hf"), ("vllm", "vllm", "hf")):
        if {first, second} <= found.keys():
            unit = "wall_seconds" if found[first]["on_gpu"] else "cpu_seconds"
            result[f"{name}_ratio"] = round(found[first][unit] / found[second][unit], 3)
    for name, first, second in (("unchanged", "vllm", "hf"), ("suppressed", "ssn_vllm", "ssn_hf")):
        if {first, second} <= found.keys():
            for what in TEXTS:
                pairs = list(zip(found[first][what], found[second][what], strict=True))
                result[f"{name}_{what}_equal"] = round(sum(a == b for a, b in pairs) / len(pairs), 3)
    return result


def without_texts(measured: dict[str, Any]) -> dict[str, Any]:
    """What `measure` returns, without the replies and their verdicts."""
    return {key: value for key, value in measured.items() if key not in TEXTS}


def misses(result: dict[str, Any]) -> list[str]:
    """The bars that were missed, in words."""
    bars = (
        ("served_ratio", result.get("served_ratio", 0) <= SERVED_BAR, f"above {SERVED_BAR}"),
        ("hooked_ratio", result.get("hooked_ratio", 0) <= HOOKED_BAR, f"above {HOOKED_BAR}"),
        ("suppressed_verdicts_equal", result.get("suppressed_verdicts_equal", 1) >= AGREEMENT_BAR, f"below {AGREEMENT_BAR}"),
    )  # fmt: skip
    return [f"{name} is {result[name]}, {fault}" for name, is_met, fault in bars if not is_met]


if __name__ == "__main__":
    main()
