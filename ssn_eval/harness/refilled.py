"""When `ssn_hf` refills its batch (`models/refilling.py`), and when lm_eval's whole batches run as they always did.

Greedy replies are the same either way. So everything that is not plain greedy decoding, or that needs to know where a prompt ends
inside `generate`, runs in whole batches.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import torch

from ssn_eval.models import refilling

WINDOW = 8
"""batches of prompts that lm_eval hands over at once; it keeps their replies for a resumed run only after the last one has ended"""
_REQUEST = {"until", "max_gen_toks", "do_sample", "temperature"}
"""the settings of a request that allow it"""
_CONFIG = {
    *("bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id", "transformers_version", "_from_model_config"),
    *("do_sample", "temperature", "top_k", "top_p", "min_p", "typical_p", "max_length", "use_cache"),
    *("repetition_penalty", "no_repeat_ngram_size"),
}  # fmt: skip
"""the settings of a model's generation config that change nothing in greedy decoding, or the same in both ways"""


def is_plain(
    requests: Sequence[Any], rows: Any, generation_config: Any, end_texts: Collection[str], *, thinks: bool
) -> bool:
    """Whether the replies of a refilled batch are those of whole batches, and there is something to refill with.

    Args:
        requests: lm_eval's.
        rows: the size of a batch.
        generation_config: of the model.
        end_texts: the texts of the end tokens.
        thinks: lm_eval removes a thought, and so looks for a stop sequence only behind it.
    """
    if not isinstance(rows, int) or len(requests) <= rows:
        return False
    if not {name for name, value in generation_config.to_diff_dict().items() if value} <= _CONFIG:
        return False
    return all(_is_greedy(request.args[1], end_texts if thinks else None) for request in requests)


def _is_greedy(settings: Mapping[str, Any], only_stops: Collection[str] | None) -> bool:
    stops = settings.get("until") or ()
    stops = [stops] if isinstance(stops, str) else stops
    return (
        set(settings) <= _REQUEST
        and not settings.get("do_sample")
        and not settings.get("temperature")
        and (only_stops is None or set(stops) <= set(only_stops))
    )


def output(
    generate: Callable[..., torch.Tensor],
    context: torch.Tensor,
    mask: torch.Tensor,
    *,
    rows: int,
    max_new_tokens: int,
    pad: int,
    stops: Sequence[str],
    has_ended: Callable[[list[int]], bool],
    done: Callable[[int], None],
) -> torch.Tensor:
    """Prompts and replies as lm_eval's whole batches return them, `(prompts, time)`, padded on the right.

    Args:
        generate: of the model; `stop` holds stop sequences, at which a whole batch ends.
        context: the prompts, `(prompts, time)`, padded on the left.
        mask: 1 on tokens of a prompt.
        rows: the most rows at once.
        max_new_tokens: the longest reply.
        pad: the padding token.
        stops: the stop sequences.
        has_ended: whether these tokens of a reply hold an end token or a stop sequence.
        done: called with the number of replies that have ended since the last call.
    """
    width = context.shape[1]
    texts = context.new_full((len(context), width + max_new_tokens), pad)
    texts[:, :width] = context
    prompts = [ids[kept.bool()].tolist() for ids, kept in zip(context, mask, strict=True)]
    try:
        for reply in refilling.replies(
            generate,
            prompts,
            rows=rows,
            max_new_tokens=max_new_tokens,
            pad=pad,
            device=context.device,
            has_ended=has_ended,
        ):
            texts[reply.prompt, width : width + len(reply.tokens)] = context.new_tensor(reply.tokens)
            done(1)
    except refilling.UnknownCacheError:
        for start in range(0, len(context), rows):
            part = slice(start, start + rows)
            shared = int(mask[part].any(dim=0).int().argmax())
            replies = generate(
                input_ids=context[part, shared:],
                attention_mask=mask[part, shared:],
                max_length=width - shared + max_new_tokens,
                stop=stops,
            )[:, width - shared :]
            texts[part, width : width + replies.shape[1]] = replies
            done(len(replies))
    return texts
