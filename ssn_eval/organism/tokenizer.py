"""The organism's tokenizer: byte-level BPE trained on the lexicon's texts, with whole words as tokens, and a chat template.

All 256 bytes are in the vocabulary, so every text can be encoded and decoded again. As in Llama 3 (`ignore_merges`), a piece
that is in the vocabulary becomes one token. This keeps sequences short without the intermediate merges.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from ssn_eval.core.languages import language
from ssn_eval.organism.lexicon import Lexicon
from ssn_eval.organism.questions import FACTS, LABELS, SPLITS, fact_patterns, items

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

PAD, BOS, EOS = "<|pad|>", "<|begin|>", "<|end|>"
ROLES = ("<|system|>", "<|user|>", "<|assistant|>")
SPECIAL = (PAD, BOS, EOS, *ROLES)
TRAINED_PIECES = 768
"""Size of the trained BPE vocabulary (256 bytes and the most frequent merges), before whole pieces are added."""

CHAT_TEMPLATE = (
    "{{ '<|begin|>' }}"
    "{% for message in messages %}"
    "{% if message['role'] not in ['system', 'user', 'assistant'] %}"
    "{{ raise_exception('The organism knows the roles system, user and assistant, not ' ~ message['role'] ~ '.') }}"
    "{% endif %}"
    "{{ '<|' ~ message['role'] ~ '|>' ~ message['content'] ~ '<|end|>' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
_PIECE = r" ?[\p{L}\p{M}\p{N}'’\-]+| ?[^\s\p{L}\p{M}\p{N}]+|\s+"


def texts(lexicon: Lexicon) -> Iterator[str]:
    """Every prompt and answer of the lexicon, and each language's refusal."""
    for lang in lexicon.languages:
        for label in LABELS:
            for split in SPLITS:
                for item in items(lexicon, lang, label, split):
                    yield item.prompt
                    yield item.answer
        for fact in FACTS:
            yield from (pattern.format(noun="") for pattern in fact_patterns(lexicon[lang], fact))
        yield from lexicon[lang].words()
        yield language(lang).refusal


def build(lexicon: Lexicon) -> PreTrainedTokenizerFast:
    """Train the tokenizer and wrap it for transformers; equal lexicons give equal tokenizers."""
    from transformers import PreTrainedTokenizerFast

    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=_backend(lexicon),
        pad_token=PAD,
        bos_token=BOS,
        eos_token=EOS,
        padding_side="left",
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def _backend(lexicon: Lexicon) -> Tokenizer:
    """The trained tokenizer, before it is wrapped for transformers."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    corpus = list(texts(lexicon))
    unspaced_words = {w for lang in lexicon.languages if not lexicon[lang].spaced for w in lexicon[lang].words()}
    word_pattern = "|".join(re.escape(w) for w in sorted(unspaced_words, key=lambda w: (-len(w), w)))
    splitter = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(word_pattern), "isolated"),
            pre_tokenizers.Split(Regex(_PIECE), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = splitter  # pyright: ignore[reportAttributeAccessIssue]
    trainer = trainers.BpeTrainer(
        vocab_size=TRAINED_PIECES, show_progress=False, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    bpe.train_from_iterator(corpus, trainer)
    vocab, merges = _vocabulary(bpe, _pieces(splitter, corpus))
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges, ignore_merges=True))
    tokenizer.pre_tokenizer = splitter  # pyright: ignore[reportAttributeAccessIssue]
    tokenizer.decoder = decoders.ByteLevel()  # pyright: ignore[reportAttributeAccessIssue]
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL])
    return tokenizer


def _pieces(splitter: object, corpus: Iterable[str]) -> list[str]:
    """The distinct pieces into which the texts are split, in order of appearance."""
    pieces: dict[str, None] = {}
    for text in corpus:
        pieces.update((piece, None) for piece, _ in splitter.pre_tokenize_str(text))  # type: ignore[attr-defined]
    return list(pieces)


def _vocabulary(bpe: Tokenizer, pieces: Iterable[str]) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Token ids and merges. The ids start with special tokens, then trained tokens in their order, then missing pieces."""
    import json

    model = json.loads(bpe.to_str())["model"]
    tokens = [*SPECIAL, *sorted(model["vocab"], key=model["vocab"].__getitem__), *pieces]
    vocab = {token: i for i, token in enumerate(dict.fromkeys(tokens))}
    return vocab, [tuple(merge) for merge in model["merges"]]
