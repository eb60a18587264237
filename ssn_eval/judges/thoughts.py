"""Split a generated text into the thought of a reasoning model and the reply behind it. Pure functions.

The reply is what a person reads: it is judged, its language is identified, and it is trained on; the thought never is. A text that
ends inside its thought has no reply.
"""

from __future__ import annotations

import re
from typing import NamedTuple

PAIRS = (
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),
    ("<reasoning>", "</reasoning>"),
    ("[THINK]", "[/THINK]"),
    ("<seed:think>", "</seed:think>"),
    ("◁think▷", "◁/think▷"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("<|channel>thought", "<channel|>"),
    ("<unused94>thought", "<unused95>"),
)
"""the marks around a thought: Qwen 3 and R1, Mistral, Seed, Kimi, Sky-T1, Cohere, Gemma and their relatives"""
_WRAPPERS = (
    *(("<answer>", "</answer>"), ("<response>", "</response>"), ("<|START_RESPONSE|>", "<|END_RESPONSE|>")),
    ("<|begin_of_solution|>", "<|end_of_solution|>"),
)
"""marks that some of these models put around the reply"""
_HARMONY = re.compile(r"<\|channel\|>\s*(\w+)[^<]*<\|message\|>")
_HARMONY_END = re.compile(r"<\|(?:end|return|call|start)\|>")
_BARE_HARMONY = re.compile(r"\s*analysis(?=[^\W\d_a-z])")
_BARE_FINAL = re.compile(r"assistant\s*final")


class Reply(NamedTuple):
    """A generated text in its two parts."""

    thought: str
    text: str
    """what follows the thought; empty if the text ends inside the thought"""
    cut_off: bool
    """whether the text ends inside the thought"""


def split(text: str, *, opened: bool = False, end: str | None = None) -> Reply:
    """Split a generated text.

    Args:
        text: what the model generated, with or without its special tokens.
        opened: the prompt ended inside an open thought (`opens_thought`), so that the text begins in one.
        end: another mark that ends a thought, as lm_eval's `think_end_token`.
    """
    if end is not None:
        return _after(text, end, opened)
    if _HARMONY.search(text):
        return _harmony(text)
    if _BARE_HARMONY.match(text):
        return _bare_harmony(text)
    thoughts: list[str] = []
    rest, is_open = text, opened
    while True:
        start = rest.lstrip()
        begun = next((pair for pair in PAIRS if start.startswith(pair[0])), None)
        if begun is None and not is_open:
            return _closed_only(thoughts, rest)
        inside = start.removeprefix(begun[0]) if begun else rest
        closers = [begun[1]] if begun else [closer for _, closer in PAIRS]
        place = min(((inside.find(c), c) for c in closers if c in inside), default=None)
        if place is None:
            return Reply("\n".join([*thoughts, inside.strip()]).strip(), "", True)
        thoughts.append(inside[: place[0]].strip())
        rest, is_open = inside[place[0] + len(place[1]) :], False


def opens_thought(prompt: str) -> bool:
    """Whether a rendered prompt ends inside an open thought, as the templates of R1 and Qwen3-Thinking do."""
    end = prompt.rstrip()
    return any(end.endswith(opener) for opener, _ in PAIRS)


def closing_of(prompt: str) -> str:
    """The text that ends the open thought of a rendered prompt, so that a reply can follow; empty if no thought is open."""
    end = prompt.rstrip()
    return next((f"\n{closer}\n\n" for opener, closer in PAIRS if end.endswith(opener)), "")


def _closed_only(thoughts: list[str], rest: str) -> Reply:
    """The rest of a text that begins with no open thought; a closing mark alone ends a thought that the prompt opened."""
    for opener, closer in PAIRS:
        if closer in rest and opener not in rest and not thoughts:
            before, _, after = rest.partition(closer)
            return Reply(before.strip(), _bare(after), False)
    return Reply("\n".join(filter(None, thoughts)), _bare(rest) if thoughts else rest, False)


def _after(text: str, end: str, opened: bool) -> Reply:
    before, mark, after = text.rpartition(end)
    if mark:
        return Reply(before.strip(), after.strip(), False)
    begins = opened or any(text.lstrip().startswith(opener) for opener, _ in PAIRS)
    return Reply(text.strip(), "", True) if begins else Reply("", text, False)


def _harmony(text: str) -> Reply:
    """Channels of gpt-oss: `final` is the reply, all others are the thought."""
    parts: dict[bool, list[str]] = {True: [], False: []}
    for match in _HARMONY.finditer(text):
        content = _HARMONY_END.split(text[match.end() :], maxsplit=1)[0]
        parts[match[1] == "final"].append(content.strip())
    return Reply("\n".join(parts[False]), "\n".join(parts[True]), not parts[True])


def _bare_harmony(text: str) -> Reply:
    """The same without special tokens: `analysis… assistantfinal…`."""
    thought = _BARE_HARMONY.sub("", text, count=1)
    before, *after = _BARE_FINAL.split(thought, maxsplit=1)
    return Reply(before.strip(), after[0].strip() if after else "", not after)


def _bare(reply: str) -> str:
    """A reply without white space and without the marks around it."""
    text = reply.strip()
    for opener, closer in _WRAPPERS:
        if text.startswith(opener):
            text = text.removeprefix(opener).removesuffix(closer).strip()
    return text
