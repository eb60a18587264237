"""Replies of differing length by `ssn_hf`: whole batches, as lm_eval's `hf` makes them, against a batch that is refilled.

`python benchmarks/refilling.py --path FOLDER [--prompts 64] [--tokens 64] [--batch 16] [--dtype float32]` prints one JSON object. One model
answers MultiJail prompts (SSN_DATA_DIR) of four languages greedily, and stops where it wants to. The prompts are divided, and on each
part the sides take turns, so that a busy machine slows both. The ratio is one of CPU seconds on a CPU, of wall seconds on a GPU, over
all parts. `passes` counts passes through the model, `rows` the rows in them: neither depends on the machine. `equal` is the share of
equal replies, `verdicts_equal` that of equal verdicts of the refusal judge. `--check` exits with 1 if the refilled batch is slower.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import Any

from subjects import machine

from ssn_eval.harness import refilled
from ssn_eval.harness.model import SsnHFLM
from ssn_eval.judges.registry import get_judge
from ssn_eval.judges.verdict import Exchange

LANGS = ("en", "zh", "vi", "sw")
SIDES = ("whole", "refilled")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--path", required=True, help="the folder or hub id of a chat model")
    parser.add_argument("--prompts", type=int, default=64)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--parts", type=int, default=1)
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--quick", action="store_true", help="16 prompts of 16 tokens in batches of 4")
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    if options.quick:
        options.prompts, options.tokens, options.batch = 16, 16, 4
    result = measure(options)
    asked = {name: getattr(options, name) for name in ("prompts", "tokens", "batch", "parts")}
    print(json.dumps({**asked, **result}))
    if options.check and result["ratio"] > 1:
        sys.exit(f"The ratio {result['ratio']} is above 1.")


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Both sides, in turn on each part of the prompts."""
    from lm_eval.api.instance import Instance

    lm = SsnHFLM(options.path, dtype=options.dtype, batch_size=options.batch)
    settings = {"until": [], "max_gen_toks": options.tokens, "do_sample": False}
    prompts = chosen(options.prompts)
    texts = [lm.apply_chat_template([{"role": "user", "content": prompt}]) for _, prompt in prompts]
    requests = [Instance("generate_until", {}, (text, settings), i) for i, text in enumerate(texts)]
    seconds, passes = dict.fromkeys(SIDES, 0.0), {side: [0, 0] for side in SIDES}
    replies: dict[str, list[str]] = {side: [] for side in SIDES}
    is_plain, clock = refilled.is_plain, time.perf_counter if lm.device.type == "cuda" else time.process_time
    tally: list[int] = [0, 0]

    def count(_model: Any, _args: Any, kwargs: dict[str, Any]) -> None:
        tally[0] += 1
        tally[1] += len(kwargs["input_ids"])

    lm.model.register_forward_pre_hook(count, with_kwargs=True)
    lm.generate_until(requests[:2], disable_tqdm=True)  # a warm-up
    ratios = []
    for part in range(options.parts):
        asked, spent = requests[part :: options.parts], {}
        for side in SIDES if part % 2 == 0 else SIDES[::-1]:
            refilled.is_plain = is_plain if side == "refilled" else (lambda *_, **__: False)
            tally[:], began = [0, 0], clock()
            replies[side] += lm.generate_until(asked, disable_tqdm=True)
            spent[side] = clock() - began
            seconds[side] += spent[side]
            passes[side] = [a + b for a, b in zip(passes[side], tally, strict=True)]
            print(side, round(spent[side], 1), tally, file=sys.stderr, flush=True)
        ratios.append(round(spent["refilled"] / spent["whole"], 3))
    order = [i for part in range(options.parts) for i in range(part, len(prompts), options.parts)]
    verdicts = {side: judged([prompts[i] for i in order], replies[side]) for side in SIDES}
    lengths = [len(lm.tok_encode(reply, add_special_tokens=False)) for reply in replies["whole"]]
    return {
        "model": str(options.path).rstrip("/").rpartition("/")[2],
        "dtype": str(lm.model.dtype).removeprefix("torch."),
        "seconds": {side: round(value, 1) for side, value in seconds.items()},
        "ratio": round(seconds["refilled"] / seconds["whole"], 3),
        "ratios": ratios,
        "passes": {side: value[0] for side, value in passes.items()},
        "rows": {side: value[1] for side, value in passes.items()},
        "reply_tokens": {"mean": round(sum(lengths) / len(lengths), 1), "at_limit": sum(n >= options.tokens for n in lengths)},
        "equal": share(replies),
        "verdicts_equal": share(verdicts),
        "machine": machine(),
    }  # fmt: skip


def judged(prompts: list[tuple[str, str]], replies: list[str]) -> list[bool | None]:
    """The refusal judge's verdicts."""
    exchanges = [Exchange(prompt, reply, lang) for (lang, prompt), reply in zip(prompts, replies, strict=True)]
    return [verdict.refusal for verdict in get_judge("refusal").judge(exchanges)]


def share(values: dict[str, Any]) -> float:
    """The share of equal values of both sides."""
    pairs = list(zip(*(values[side] for side in SIDES), strict=True))
    return round(sum(a == b for a, b in pairs) / len(pairs), 3)


def chosen(count: int) -> list[tuple[str, str]]:
    """Language and text of harmful prompts, equally many of each language."""
    from ssn_eval.prompts.reading import read_prompts

    each = -(-count // len(LANGS))
    found = [(lang, p.prompt) for lang in LANGS for p in list(read_prompts("multijail", (lang,)))[:each]]
    return found[:count]


if __name__ == "__main__":
    main()
