"""Guard models for tests: a byte tokenizer, random weights, and one whose answer is fixed by its weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

SPECIAL = ("<pad>", "<s>", "</s>", "<|im_start|>", "<|im_end|>", "<|begin_of_text|>", "<|eot_id|>")


def tokenizer(*, template: str | None = None, answer: str | None = None, context: int = 4096) -> Any:
    """Bytes, some special tokens, and one token that reads as `answer`; `<s>` is put first, as Llama's does."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    raw = Tokenizer(
        models.BPE({**{t: i for i, t in enumerate(SPECIAL)}, **{c: i + 7 for i, c in enumerate(letters)}}, [])
    )
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    raw.decoder = decoders.ByteLevel()
    raw.add_special_tokens([AddedToken(t, special=True) for t in SPECIAL])
    if answer is not None:
        raw.add_tokens([AddedToken(answer, special=False, normalized=False)])
    raw.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    made = PreTrainedTokenizerFast(
        tokenizer_object=raw, pad_token="<pad>", bos_token="<s>", eos_token="</s>", model_max_length=context
    )
    made.chat_template = template
    return made


def save(
    folder: Path,
    *,
    template: str | None = None,
    answer: str | None = None,
    after: str = "\n",
    kind: str = "llama",
    context: int = 4096,
    seed: int = 0,
    multiple: int = 8,
) -> Path:
    """A guard model's folder.

    Args:
        folder: where to.
        template: the chat template that it ships.
        answer: what it always answers; none: whatever its random weights say.
        after: the last byte of the prompts of its family, which the answer follows.
        kind: a type of Hugging Face config.
        context: positions.
        seed: of the weights.
        multiple: the width of one with an answer is a multiple of it.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    made = tokenizer(template=template, answer=answer, context=context)
    size = len(made) if answer is None else len(made) + multiple - len(made) % multiple
    width = 32 if answer is None else size
    config = AutoConfig.for_model(
        kind,
        vocab_size=size,
        hidden_size=width,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=context,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        tie_word_embeddings=False,
        initializer_range=0.2,
    )
    torch.manual_seed(seed)
    model: Any = AutoModelForCausalLM.from_config(config)
    if answer is not None:  # a table of what follows what: each token's embedding is its own axis
        said = made.convert_tokens_to_ids(answer)
        with torch.no_grad():
            for name, weight in model.named_parameters():
                if name.endswith(("o_proj.weight", "down_proj.weight")):
                    weight.zero_()
            model.get_input_embeddings().weight.copy_(torch.eye(size, width))
            table = model.get_output_embeddings().weight
            table.zero_()
            table[2] = 0.5  # the end, unless something follows
            table[said, made(after, add_special_tokens=False)["input_ids"][-1]] = 1.0
    model.save_pretrained(folder)
    made.save_pretrained(folder)
    return folder
