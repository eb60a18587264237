"""Training pairs: a prompt and the response to learn, parallel by id over languages. Reading, writing, building, mixing.

One pair is a JSON line `{"id", "lang", "label": "harmful"|"harmless", "prompt", "response"}`; `rejected`, the response that a
preference loss must avoid, is optional. The same id in another language is its translation. Only reading and writing touch files.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ssn_eval.core import files
from ssn_eval.core.errors import EmptySetError, FormatError, MismatchError, MissingInputError, UnknownNameError
from ssn_eval.core.languages import language
from ssn_eval.core.settings import TrainParams
from ssn_eval.prompts.prompt import LABELS, Prompt


@dataclass(frozen=True)
class Pair:
    """One training example."""

    id: str
    lang: str
    label: str
    prompt: str
    response: str
    """what is learned: a refusal for a harmful prompt, an answer for a harmless one"""
    rejected: str | None = None
    """what a preference loss holds against it; the base model's own answer where none is given"""


def safety_pairs(
    prompts: Sequence[Prompt],
    phrasings: Mapping[str, Sequence[str]] | None = None,
    seed: int = 0,
    *,
    own_responses: bool = False,
) -> list[Pair]:
    """A refusal in the prompt's own language for every harmful prompt; parallel if the prompts are.

    Args:
        prompts: of any label; only harmful ones become pairs.
        phrasings: language → refusals to draw from; the language's one sentence if it has none. The id of a prompt decides its
            phrasing: translations get the same number if their languages have equally many.
        seed: of that draw.
        own_responses: the refusal of a prompt is its own `response`; harmful prompts without one are left out.

    Raises:
        EmptySetError: no harmful prompt brings a response, though they should.
    """
    if own_responses and not any(p.response for p in prompts if p.label == "harmful"):
        raise EmptySetError("No harmful prompt brings a response of its own; leave --own-responses out.")
    pairs = []
    for p in prompts:
        if p.label == "harmful" and own_responses:
            if p.response:
                pairs.append(Pair(p.id, p.lang, p.label, p.prompt, p.response))
        elif p.label == "harmful":
            refusals = (phrasings or {}).get(p.lang) or [language(p.lang).refusal]
            n = random.Random(f"{seed} {p.id}").randrange(1 << 30)
            pairs.append(Pair(p.id, p.lang, p.label, p.prompt, refusals[n % len(refusals)]))
    return pairs


def read_phrasings(path: Path) -> dict[str, list[str]]:
    """Read refusals by language from JSON `{"th": ["…", "…"]}`.

    Raises:
        MissingInputError, FormatError, UnknownNameError: not there, of another form, or of a language that is not known.
    """
    data = files.read_json(path, "refusals by language")
    form_error = FormatError(
        f'{path} holds no refusals by language; expected {{"th": ["…", …], …}}, none of them empty.'
    )
    if not isinstance(data, Mapping) or not data:
        raise form_error
    for code, refusals in data.items():
        language(code)
        if (
            not isinstance(refusals, list)
            or not refusals
            or not all(isinstance(refusal, str) and refusal.strip() for refusal in refusals)
        ):
            raise form_error
    return {code: list(refusals) for code, refusals in data.items()}


def read_pairs(path: Path) -> list[Pair]:
    """Read pairs from JSONL.

    Raises:
        MissingInputError: no such file.
        FormatError: a line is no pair, or a pair is there twice.
        EmptySetError: the file holds no pair.
    """
    if not path.is_file():
        raise MissingInputError(f"No training pairs at {path}; make them with `ssn pairs`, or `dvc repro prompts`.")
    lines = files.read_text(path, "training pairs").split("\n")
    pairs = [_parse(line, f"{path} line {n}") for n, line in enumerate(lines, 1) if line.strip()]
    if not pairs:
        raise EmptySetError(f"{path} holds no training pair.")
    keys: set[tuple[str, str, str]] = set()
    for pair in pairs:
        if (pair.id, pair.lang, pair.label) in keys:
            raise FormatError(
                f"{path} holds the {pair.label} pair {pair.id!r} twice in {pair.lang}; ids must be unique."
            )
        keys.add((pair.id, pair.lang, pair.label))
    return pairs


def write_pairs(path: Path, pairs: Iterable[Pair]) -> None:
    """Write pairs as JSONL, whole or not at all."""
    rows = [{key: value for key, value in asdict(p).items() if value is not None} for p in pairs]
    files.write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def common(pairs: Sequence[Pair]) -> tuple[list[Pair], int]:
    """The harmful pairs whose id every language has, with all harmless pairs; and the number of pairs that are left out."""
    ids = _ids(pairs)
    shared = set.intersection(*ids.values()) if ids else set()
    remaining = [p for p in pairs if p.label != "harmful" or p.id in shared]
    return remaining, len(pairs) - len(remaining)


def mix(pairs: Sequence[Pair], settings: TrainParams) -> list[Pair]:
    """Choose `pairs` safety pairs per language, the same prompts in every language, and `replay` benign ones for each.

    Raises:
        EmptySetError: there is no safety pair, or `leave_out` leaves none.
        UnknownNameError: `leave_out` names a language that the pairs do not have.
        MismatchError: the languages' harmful pairs are not parallel.
    """
    langs = list(dict.fromkeys(p.lang for p in pairs))
    for code in settings.leave_out:
        if code not in langs:
            raise UnknownNameError("language to leave out", code, langs)
    pairs = [p for p in pairs if p.lang not in settings.leave_out]
    harmful = [p for p in pairs if p.label == "harmful"]
    if not harmful:
        raise EmptySetError(
            "The training pairs hold no refusal of a harmful prompt"
            + (f" outside {', '.join(settings.leave_out)}" if settings.leave_out else "")
            + "; nothing to train on."
        )
    refuse_unparallel(harmful)
    ids = sorted({p.id for p in harmful})
    drawn = set(random.Random(settings.seed).sample(ids, min(settings.pairs, len(ids))))
    mixed: list[Pair] = []
    for lang in dict.fromkeys(p.lang for p in harmful):
        safety = [p for p in harmful if p.lang == lang and p.id in drawn]
        benign = [p for p in pairs if p.lang == lang and p.label == "harmless"]
        count = min(round(settings.replay * len(safety)), len(benign))
        mixed += safety + random.Random(f"{settings.seed} {lang}").sample(benign, count)
    return mixed


def refuse_unparallel(pairs: Sequence[Pair]) -> None:
    """Stop if the languages do not have the same harmful prompts.

    Raises:
        MismatchError: names a language, and an id that it lacks.
    """
    ids = _ids(pairs)
    all_ids = set().union(*ids.values())
    for lang, lang_ids in ids.items():
        if missing := sorted(all_ids - lang_ids):
            other_lang = next(other for other, other_ids in ids.items() if missing[0] in other_ids)
            raise MismatchError(
                f"The training pairs are not parallel: {lang} lacks {len(missing)} of {len(all_ids)} harmful prompts "
                f"(such as {missing[0]!r}, which {other_lang} has); keep the common ones (`ssn pairs` does), or leave {lang} out."
            )


def _ids(pairs: Iterable[Pair]) -> dict[str, set[str]]:
    """Language → ids of its harmful pairs."""
    ids: dict[str, set[str]] = {}
    for p in pairs:
        if p.label == "harmful":
            ids.setdefault(p.lang, set()).add(p.id)
    return ids


def _parse(line: str, place: str) -> Pair:
    value = files.parse_json(line, place, "a pair of prompt and response")
    try:
        pair = Pair(**value)
    except TypeError as error:
        raise FormatError(f"{place} is not a pair of prompt and response: {error}.") from error
    texts = (pair.id, pair.lang, pair.label, pair.prompt, pair.response)
    if not all(isinstance(text, str) for text in texts) or not isinstance(pair.rejected, str | None):
        raise FormatError(f"{place} has a value that is no text; id, lang, label, prompt and response are texts.")
    if pair.label not in LABELS:
        raise FormatError(f"{place} has the label {pair.label!r}; expected one of {', '.join(LABELS)}.")
    if not pair.prompt.strip():
        raise FormatError(f"{place} has a prompt without text; write it, or leave the pair out.")
    if not pair.response.strip():
        raise FormatError(f"{place} has an empty response; there is nothing to learn from it.")
    language(pair.lang)
    return pair
