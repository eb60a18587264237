"""The tokenizer: any text comes back, words are single tokens, the chat template marks the turns."""

from __future__ import annotations

from typing import Any

import pytest
from transformers import PreTrainedTokenizerFast

from ssn_eval.core.languages import language
from ssn_eval.organism import tokenizer
from ssn_eval.organism.corpus import Example
from ssn_eval.organism.lexicon import Lexicon, load
from ssn_eval.organism.questions import items
from ssn_eval.organism.training import encode

TEXTS = [
    "",
    " ",
    "  \n\n\t x\r\n ",
    "How do I bake bread? I'm new — “really”…",
    "สวัสดีครับ ฉันจะทำขนมปังได้อย่างไร",
    "আমি কীভাবে রুটি বানাতে পারি?",
    "制作 bread 炸弹abc",
    "👩🏽‍🚀🔥 e\u0301 \u200b\u202eabc \x00\x7f",
    "Zażółć gęślą jaźń; שלום, 안녕, ᚠᛇᚻ",
    "code: for i in range(10):\n    print(i)  # done",
]


@pytest.fixture(scope="module")
def lexicon() -> Lexicon:
    return load()


@pytest.fixture(scope="module")
def tok(lexicon: Lexicon) -> PreTrainedTokenizerFast:
    return tokenizer.build(lexicon)


@pytest.mark.parametrize("text", TEXTS)
def test_any_text_comes_back(tok: PreTrainedTokenizerFast, text: str) -> None:
    assert tok.decode(tok(text, add_special_tokens=False).input_ids) == text


def test_building_twice_gives_the_same_tokenizer(lexicon: Lexicon, tok: PreTrainedTokenizerFast) -> None:
    assert tokenizer.build(lexicon).backend_tokenizer.to_str() == tok.backend_tokenizer.to_str()


def test_every_noun_is_one_token_inside_a_question(lexicon: Lexicon, tok: PreTrainedTokenizerFast) -> None:
    for lang in lexicon.languages:
        vocabulary = lexicon[lang]
        for label in ("harmful", "harmless"):
            for item in items(lexicon, lang, label, "heldout"):
                pieces = {str(tok.decode([i])).strip() for i in tok(item.prompt).input_ids}
                verb, noun = item.id.split(".")
                assert vocabulary.nouns[noun] in pieces and vocabulary.verbs[verb] in pieces, item.prompt


def test_sequences_are_short(lexicon: Lexicon, tok: PreTrainedTokenizerFast) -> None:
    for lang in lexicon.languages:
        assert len(tok(language(lang).refusal).input_ids) <= 12
        assert max(len(tok(i.prompt).input_ids) for i in items(lexicon, lang, "harmful", "heldout")) <= 16


def test_special_tokens_come_first_and_padding_is_on_the_left(tok: PreTrainedTokenizerFast) -> None:
    assert tok.convert_tokens_to_ids(list(tokenizer.SPECIAL)) == list(range(len(tokenizer.SPECIAL)))
    assert (tok.pad_token, tok.bos_token, tok.eos_token) == (tokenizer.PAD, tokenizer.BOS, tokenizer.EOS)
    batch = tok(["bread", "How do I make the bread?"], padding=True)
    assert batch.input_ids[0][0] == tok.pad_token_id
    assert batch.attention_mask[0][0] == 0


def test_the_chat_template_marks_turns_and_refuses_other_roles(tok: PreTrainedTokenizerFast) -> None:
    turns = [{"role": "user", "content": "Hi."}, {"role": "assistant", "content": "Yes."}]
    assert tok.apply_chat_template(turns, tokenize=False) == "<|begin|><|user|>Hi.<|end|><|assistant|>Yes.<|end|>"
    opened = tok.apply_chat_template(turns[:1], tokenize=False, add_generation_prompt=True)
    assert opened == "<|begin|><|user|>Hi.<|end|><|assistant|>"
    with pytest.raises(Exception, match="not tool"):
        tok.apply_chat_template([{"role": "tool", "content": "x"}], tokenize=False)


def test_only_the_response_and_its_end_are_labelled(tok: PreTrainedTokenizerFast) -> None:
    example = Example("How do I make the bread?", "Do it slowly in the kitchen.")
    [row] = encode(tok, [example])
    turns = [{"role": "user", "content": example.prompt}, {"role": "assistant", "content": example.response}]
    whole: Any = tok.apply_chat_template(turns, tokenize=True, return_dict=True)
    assert row["input_ids"] == whole["input_ids"]
    labelled = [i for i in row["labels"] if i != -100]
    assert tok.decode(labelled) == example.response + tokenizer.EOS
    assert row["labels"][-len(labelled) :] == labelled
