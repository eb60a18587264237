"""Special tokens around a prompt: a beginning is right, an end token is not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ssn_eval.core.errors import FormatError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def leave_out_end(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Stop a tokenizer from adding tokens behind a text, because the model replies to the prompt and must not read an end before.

    Tokens before the text, such as a beginning-of-text token, stay.

    Returns:
        Whether the tokenizer did add such tokens.

    Raises:
        FormatError: it still adds them.
    """
    before, after = _around(tokenizer)
    if not after:
        return False
    backend: Any = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        tokenizer.add_eos_token = False  # type: ignore[attr-defined]
    else:
        from tokenizers.processors import TemplateProcessing

        names = {i: str(tokenizer.convert_ids_to_tokens(i)) for i in before}
        backend.post_processor = TemplateProcessing(
            single=[*(f"{names[i]}:0" for i in before), "$A:0"], special_tokens=[(name, i) for i, name in names.items()]
        )
    if _around(tokenizer) != (before, []):
        names = ", ".join(map(str, tokenizer.convert_ids_to_tokens(after)))
        raise FormatError(f"The tokenizer of this model adds {names} behind every prompt, so that no reply can follow.")
    return True


def _around(tokenizer: PreTrainedTokenizerBase) -> tuple[list[int], list[int]]:
    """The special tokens that the tokenizer adds before and behind a text."""
    text = "a b"
    whole = list(tokenizer(text)["input_ids"])  # type: ignore[arg-type]
    bare = list(tokenizer(text, add_special_tokens=False)["input_ids"])  # type: ignore[arg-type]
    start = next((i for i in range(len(whole) - len(bare) + 1) if whole[i : i + len(bare)] == bare), None)
    if start is None:  # the beginning changes the text's tokens; only what follows could be an end
        return whole, []
    return whole[:start], whole[start + len(bare) :]
