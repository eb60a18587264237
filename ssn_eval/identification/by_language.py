"""The scores of several languages with one loaded model; a finished language is kept, and is not scored again.

A kept language is named by everything that decides its scores, so a longer list of languages scores only the new ones.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import NamedTuple

from ssn_eval.core import files, origin, store
from ssn_eval.core.processes import is_main
from ssn_eval.core.progress import progress
from ssn_eval.core.settings import ScoreParams
from ssn_eval.identification.identify import identify, work_folder
from ssn_eval.models import loading
from ssn_eval.models.loading import Loaded, ModelSpec
from ssn_eval.prompts.prompt import LABELS, Prompt, select_prompts

KEPT = Path(".ssn/scores")
"""finished languages, in the project's folder"""
FORMAT = "ssn-scores-of-a-language/1"
_CODE = ("core", "identification", "models", "prompts")
"""the packages of ours that decide the scores"""


class Second(NamedTuple):
    """The second model of `model_diff`."""

    identity: str
    """what tells its weights from others, as text"""
    load: Callable[[], Loaded]


def score_languages(
    spec: ModelSpec,
    prompts: Sequence[Prompt],
    languages: Sequence[str],
    settings: ScoreParams,
    out: Path,
    *,
    load: Callable[[], Loaded] | None = None,
    against: Second | None = None,
    trained: str | None = None,
    kept: Path = KEPT,
    say: Callable[[str], None] = lambda _line: None,
) -> None:
    """Write `OUT/<lang>/<label>.safetensors` for every language and both labels.

    Args:
        spec: the model.
        prompts: of these languages and both labels; those of the split `train` count.
        languages: codes.
        settings: the scorer, the sites, and the largest number of prompts.
        out: the folder of the scores, replaced only once all are there.
        against: the second model of `model_diff`.
        trained: what tells the weights that `load` gives from those of the spec, if it gives a trained model.
        load: how the model is loaded, by default `loading.load(spec)`; it is loaded when the first language needs it.
        kept: where finished languages lie.
        say: is given lines about memory and prompts.

    Raises:
        SsnError: as `identify`; a language lacks prompts.
    """
    loaded = cache(load or (lambda: loading.load(spec)))
    second = cache(against.load) if against else None
    common = {
        "format": FORMAT,
        "model": spec.to_json(),
        "weights": loading.weights_hash(loading.locate(spec)),
        "settings": asdict(settings),
        "code": origin.code_hash(_CODE),
        "versions": origin.versions(),
        **({"against": against.identity} if against else {}),
        **({"trained": trained} if trained else {}),
    }
    places = []
    with progress("languages", len(languages)) as advance:
        for lang in languages:
            chosen = {label: select_prompts(prompts, lang=lang, label=label, split="train") for label in LABELS}
            own = {"lang": lang, "prompts": {label: [_named(p) for p in chosen[label]] for label in LABELS}}
            text = json.dumps(common | own, sort_keys=True)
            place = kept / hashlib.sha256(text.encode()).hexdigest()[:32]
            if not place.is_dir():
                _score(loaded, second, chosen, settings, place, say)
            places.append((lang, place))
            advance()
    if is_main():
        with files.atomic(out) as folder:
            for lang, place in places:
                shutil.copytree(place, folder / lang)


def _named(prompt: Prompt) -> list[str]:
    """What of a prompt decides its scores; the response only where there is one."""
    return [prompt.id, prompt.prompt, *([prompt.response] if prompt.response is not None else [])]


def _score(
    loaded: Callable[[], Loaded],
    second: Callable[[], Loaded] | None,
    prompts: dict[str, list[Prompt]],
    settings: ScoreParams,
    place: Path,
    say: Callable[[str], None],
) -> None:
    """Score one language; a killed run resumes within it."""
    with work_folder(place.with_name(f".work-{place.name}")) as work:
        identified = {
            label: identify(
                loaded(), chosen, settings, against=second() if second else None, work=work / label, say=say
            )
            for label, chosen in prompts.items()
        }
        if is_main():
            with files.atomic(place) as folder:
                for label, scores in identified.items():
                    store.save_scores(folder / f"{label}.safetensors", scores.whole)
