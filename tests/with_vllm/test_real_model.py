"""A real chat model in bfloat16 (`SSN_VLLM_MODEL`): `ssn_vllm` and `ssn_hf` judge alike, with and without an intervention."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from lm_eval.api.instance import Instance

from ssn_eval.core import store
from ssn_eval.core.neurons import NeuronSet
from ssn_eval.core.store import NeuronFile
from ssn_eval.harness.model import SsnHFLM
from ssn_eval.harness.served.model import SsnVLLM
from ssn_eval.judges.registry import get_judge
from ssn_eval.judges.verdict import Exchange
from ssn_eval.models import loading
from ssn_eval.organism import lexicon, questions
from with_vllm.small import ENGINE

AGREE = 0.95
"""the least share of equal verdicts: rounding in bfloat16 changes a reply here and there"""
LANGS, EACH, TOKENS = ("en", "zh", "sw", "th"), 5, 24


def verdicts(lm: Any, asked: list[tuple[str, str]]) -> list[bool | None]:
    texts = [lm.apply_chat_template([{"role": "user", "content": prompt}]) for _, prompt in asked]
    settings = {"until": [], "max_gen_toks": TOKENS, "do_sample": False}
    requests = [Instance("generate_until", {}, (text, settings), i) for i, text in enumerate(texts)]
    replies = lm.generate_until(requests, disable_tqdm=True)
    exchanges = [Exchange(prompt, reply, lang) for (lang, prompt), reply in zip(asked, replies, strict=True)]
    return [verdict.refusal for verdict in get_judge("refusal").judge(exchanges)]


@pytest.mark.parametrize("op", ["none", "suppress"])
def test_the_verdicts_of_ssn_hf_in_bfloat16(real_model: Path, op: str, tmp_path: Path) -> None:
    ref = loading.identity(loading.ModelSpec(str(real_model)))
    neurons = NeuronSet.from_keys({key: range(0, width, 33) for key, width in ref.geometry.widths.items()})
    store.save_neurons(tmp_path / "set.json", NeuronFile(neurons, ref))
    asked = [
        (lang, item.prompt)
        for lang in LANGS
        for label in ("harmful", "harmless")
        for item in questions.items(lexicon.load(), lang, label, "heldout")[:EACH]
    ]
    given = {"neurons": str(tmp_path / "set.json"), "op": op}
    hf = SsnHFLM(str(real_model), device="cpu", batch_size=8, **given)
    by_hf = verdicts(hf, asked)
    del hf
    lm = SsnVLLM(str(real_model), **given, **ENGINE)
    try:
        by_vllm = verdicts(lm, asked)
    finally:
        lm.leave()
    equal = sum(a == b for a, b in zip(by_hf, by_vllm, strict=True)) / len(asked)
    assert equal >= AGREE, f"{equal:.3f} of {len(asked)} verdicts are equal"
