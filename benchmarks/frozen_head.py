"""A frozen model's generation, with and without a contiguous input of its output layer (`models/heads.py`).

`python benchmarks/frozen_head.py --path FOLDER [--batch 16] [--tokens 16]` prints one JSON object. The model's weights are frozen, as
PEFT leaves them when it loads an adapter. `as_it_is` generates without the hook of `heads.keep_fast`, and `kept_fast` with it; they take turns
on the same prompts of random tokens. `seconds` are CPU seconds, the least of the repeats; `ratio` is `as_it_is` ÷ `kept_fast`.
`equal` says whether both gave the same tokens.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import torch
from subjects import machine

from ssn_eval.models import heads, loading


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--path", required=True, help="the folder or hub id of a model")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--length", type=int, default=64, help="tokens of a prompt")
    parser.add_argument("--tokens", type=int, default=16, help="tokens of a reply")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="2 prompts of 8 tokens, 2 tokens of a reply")
    options = parser.parse_args()
    if options.quick:
        options.batch, options.length, options.tokens, options.repeats = 2, 8, 2, 1
    settings = {name: getattr(options, name) for name in ("batch", "length", "tokens", "repeats")}
    print(json.dumps({"model": Path(options.path).name, **settings, **measure(options), "machine": machine()}))


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """The least seconds of both sides, their ratio, and whether the tokens are equal."""
    model: Any = loading.load_model(options.path, device="cpu").model.requires_grad_(False)
    head = model.get_output_embeddings()
    torch.manual_seed(0)
    ids = torch.randint(head.weight.shape[0], (options.batch, options.length))
    seconds: dict[str, list[float]] = {"as_it_is": [], "kept_fast": []}
    replies = {}
    for _ in range(options.repeats):
        for name, times in seconds.items():
            head._forward_pre_hooks.clear()
            if name == "kept_fast":
                heads.keep_fast(model)
            started = time.process_time()
            replies[name] = model.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=options.tokens,
                min_new_tokens=options.tokens,
                do_sample=False,
            )
            times.append(time.process_time() - started)
    least = {name: min(times) for name, times in seconds.items()}
    return {
        "seconds": {name: round(value, 2) for name, value in least.items()},
        "ratio": round(least["as_it_is"] / least["kept_fast"], 2),
        "equal": bool(torch.equal(*replies.values())),
    }


if __name__ == "__main__":
    main()
