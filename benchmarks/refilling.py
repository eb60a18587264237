"""Replies of differing length: whole batches, as lm_eval's `hf` makes them, against two ways in which finished rows make room.

`python benchmarks/refilling.py --path FOLDER [--prompts 64] [--tokens 64] [--batch 16] [--dtype float32]` prints one JSON object. One model
answers MultiJail prompts (SSN_DATA_DIR) of four languages greedily, and stops where it wants to. The prompts are divided into parts, and on
each part the ways take turns, so that a busy machine slows all:

- `whole`: batches of similar length, each of which runs until its longest reply ends;
- `half`: the same with half as many rows, to see what another batch alone changes (`equal`), only if `--ways` names it;
- `refilled`: `generate` writes a few tokens at a time. Between two such calls finished rows leave, the padding that all rows share is cut
  off, and new prompts join;
- `continuous`: transformers' own continuous batching (`generate_batch`), only if `--ways` names it.

`ratios` are of CPU seconds on a CPU and of wall seconds on a GPU, over all parts, each way ÷ `whole`. `passes` counts passes through the
model and `rows` the rows in them: neither depends on the machine. `equal` is the share of replies that equal those of `whole`,
`verdicts_equal` that of equal verdicts of the refusal judge.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import torch
from joining import joined_replies, padded
from subjects import machine

from ssn_eval.judges.registry import get_judge
from ssn_eval.judges.verdict import Exchange
from ssn_eval.models import loading, templates
from ssn_eval.models.generation import NO_PENALTY
from ssn_eval.models.loading import Loaded
from ssn_eval.prompts.reading import read_prompts

LANGS = ("en", "zh", "vi", "sw")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--path", required=True, help="the folder or hub id of a chat model")
    parser.add_argument("--prompts", type=int, default=64)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--parts", type=int, default=1)
    parser.add_argument("--dtype", default="auto")
    parser.add_argument(
        "--ways", default="whole,refilled", help="of whole, half, refilled and continuous; whole is the first"
    )
    parser.add_argument("--quick", action="store_true", help="16 prompts of 16 tokens in batches of 4")
    options = parser.parse_args()
    if options.quick:
        options.prompts, options.tokens, options.batch = 16, 16, 4
    asked = {name: getattr(options, name) for name in ("prompts", "tokens", "batch", "parts")}
    print(json.dumps({**asked, **measure(options)}))


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Every way, in turn on each part of the prompts."""
    ways, loaded = options.ways.split(","), loading.load_model(options.path, dtype=options.dtype)
    prompts = chosen(options.prompts)
    words = partial(loaded.tokenizer, add_special_tokens=False)
    ids = [words(templates.render(loaded.tokenizer, prompt))["input_ids"] for _, prompt in prompts]
    clock = time.perf_counter if loaded.model.device.type == "cuda" else time.process_time
    seconds, passes = dict.fromkeys(ways, 0.0), {way: [0, 0] for way in ways}
    replies: dict[str, dict[int, list[int]]] = {way: {} for way in ways}
    tally = [0, 0]

    def count(_model: Any, _args: Any, kwargs: dict[str, Any]) -> None:
        tally[0] += 1
        tally[1] += len(kwargs["input_ids"])

    loaded.model.register_forward_pre_hook(count, with_kwargs=True)
    for part in range(options.parts):
        order = sorted(range(part, len(ids), options.parts), key=lambda i: -len(ids[i]))  # as lm_eval sorts
        for way in ways if part % 2 == 0 else ways[::-1]:
            tally[:], began = [0, 0], clock()
            with torch.inference_mode():
                for place, tokens in WAYS[way](loaded, [ids[i] for i in order], options.batch, options.tokens):
                    replies[way][order[place]] = shown(loaded, tokens)
            spent = clock() - began
            seconds[way] += spent
            passes[way] = [a + b for a, b in zip(passes[way], tally, strict=True)]
            print(way, round(spent, 1), tally, file=sys.stderr, flush=True)
    texts = {way: [loaded.tokenizer.decode(replies[way][i]) for i in range(len(ids))] for way in ways}
    verdicts = {way: judged(prompts, texts[way]) for way in ways}
    lengths = [len(tokens) for tokens in replies["whole"].values()]
    return {
        "model": str(options.path).rstrip("/").rpartition("/")[2],
        "dtype": str(loaded.model.dtype).removeprefix("torch."),
        "seconds": {way: round(value, 1) for way, value in seconds.items()},
        "ratios": {way: round(value / seconds["whole"], 3) for way, value in seconds.items()},
        "passes": {way: value[0] for way, value in passes.items()},
        "rows": {way: value[1] for way, value in passes.items()},
        "reply_tokens": {"mean": round(sum(lengths) / len(lengths), 1), "at_limit": lengths.count(options.tokens)},
        "equal": {way: share(texts[way], texts["whole"]) for way in ways},
        "verdicts_equal": {way: share(verdicts[way], verdicts["whole"]) for way in ways},
        "machine": machine(),
    }


def whole(loaded: Loaded, prompts: Sequence[Sequence[int]], rows: int, tokens: int) -> Iterator[tuple[int, list[int]]]:
    """Batches that run until their longest reply ends."""
    for start in range(0, len(prompts), rows):
        ids, mask = padded(prompts[start : start + rows], pad_of(loaded), loaded.model.device)
        output = greedy(loaded)(input_ids=ids, attention_mask=mask, max_length=ids.shape[1] + tokens)
        yield from ((start + row, reply.tolist()) for row, reply in enumerate(output[:, ids.shape[1] :]))


def half(loaded: Loaded, prompts: Sequence[Sequence[int]], rows: int, tokens: int) -> Iterator[tuple[int, list[int]]]:
    """As `whole`, with half as many rows."""
    yield from whole(loaded, prompts, rows // 2, tokens)


def refilled(
    loaded: Loaded, prompts: Sequence[Sequence[int]], rows: int, tokens: int
) -> Iterator[tuple[int, list[int]]]:
    """A batch whose finished rows make room."""
    ends = ends_of(loaded)
    yield from joined_replies(
        greedy(loaded),
        prompts,
        rows=rows,
        max_new_tokens=tokens,
        pad=pad_of(loaded),
        device=loaded.model.device,
        has_ended=lambda reply: not ends.isdisjoint(reply),
    )


def continuous(
    loaded: Loaded, prompts: Sequence[Sequence[int]], rows: int, tokens: int
) -> Iterator[tuple[int, list[int]]]:
    """Transformers' continuous batching."""
    from transformers import ContinuousBatchingConfig, GenerationConfig

    model: Any = loaded.model
    config = GenerationConfig(
        max_new_tokens=tokens, do_sample=False, eos_token_id=sorted(ends_of(loaded)), pad_token_id=pad_of(loaded)
    )
    limits = ContinuousBatchingConfig(num_blocks=2 * rows, max_batch_tokens=512, max_requests_per_batch=rows)
    output = model.generate_batch(
        [list(prompt) for prompt in prompts], generation_config=config, continuous_batching_config=limits
    )
    in_order = sorted(output.values(), key=lambda one: int(one.request_id.rpartition("_")[2]))
    yield from ((place, list(one.generated_tokens)) for place, one in enumerate(in_order))


WAYS: dict[str, Callable[..., Iterator[tuple[int, list[int]]]]] = {
    "whole": whole,
    "half": half,
    "refilled": refilled,
    "continuous": continuous,
}


def greedy(loaded: Loaded) -> Callable[..., Any]:
    """`generate` of a model, for greedy replies."""
    model: Any = loaded.model
    return partial(model.generate, pad_token_id=pad_of(loaded), do_sample=False, **NO_PENALTY)


def pad_of(loaded: Loaded) -> int:
    """The padding token."""
    return int(loaded.tokenizer.pad_token_id)  # type: ignore[arg-type]


def ends_of(loaded: Loaded) -> set[int]:
    """The tokens that end a reply."""
    config: Any = loaded.model.generation_config
    ends = config.eos_token_id
    return {ends} if isinstance(ends, int) else set(ends)


def shown(loaded: Loaded, tokens: Sequence[int]) -> list[int]:
    """A reply without its end token and what lies behind it."""
    ends = ends_of(loaded)
    return list(tokens[: next((i for i, token in enumerate(tokens) if token in ends), len(tokens))])


def judged(prompts: list[tuple[str, str]], replies: list[str]) -> list[bool | None]:
    """The refusal judge's verdicts."""
    exchanges = [Exchange(prompt, reply, lang) for (lang, prompt), reply in zip(prompts, replies, strict=True)]
    return [verdict.refusal for verdict in get_judge("refusal").judge(exchanges)]


def share(values: Sequence[Any], others: Sequence[Any]) -> float:
    """The share of equal values."""
    return round(sum(a == b for a, b in zip(values, others, strict=True)) / len(values), 3)


def chosen(count: int) -> list[tuple[str, str]]:
    """Language and text of harmful prompts, equally many of each language."""
    each = -(-count // len(LANGS))
    found = [(lang, p.prompt) for lang in LANGS for p in list(read_prompts("multijail", (lang,)))[:each]]
    return found[:count]


if __name__ == "__main__":
    main()
