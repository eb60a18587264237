"""What a project needs before it is written: a model that can be reached, and prompts in every language."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from ssn_eval.core.errors import EmptySetError, MissingInputError
from ssn_eval.core.progress import waiting
from ssn_eval.models.loading import ModelSpec, config_of
from ssn_eval.organism.lexicon import ORGANISM_LANGUAGES
from ssn_eval.prompts.benchmarks.catalogue import SOURCES
from ssn_eval.prompts.benchmarks.presence import presence
from ssn_eval.prompts.prompt import Label
from ssn_eval.prompts.reading import languages_of


def place_in(folder: Path, name: str) -> str:
    """A hub id or a benchmark as it is; a path inside the project relative to it, any other path absolute."""
    path = Path(name).expanduser()
    if not path.exists():
        return name
    path, top = (Path(os.path.abspath(p)) for p in (path, folder))
    return path.relative_to(top).as_posix() if path.is_relative_to(top) else path.as_posix()


def commit_of(spec: ModelSpec) -> str | None:
    """The commit of a hub model, so that the project stays with it; None for a folder. Only the config is read.

    Raises:
        MissingInputError, FormatError: the model cannot be reached, or is none.
    """
    try:
        with waiting(f"looking at {spec.name}"):
            config, _ = config_of(spec)
    except MissingInputError as error:
        raise MissingInputError(
            f"{str(error).rstrip('.')}. Correct --model, or give --no-check if another machine will run the project."
        ) from error
    return getattr(config, "_commit_hash", None)


def refuse_unspoken(languages: Sequence[str]) -> None:
    """Stop if the organism does not speak a language.

    Raises:
        EmptySetError: says which languages it has.
    """
    missing = [code for code in languages if code not in ORGANISM_LANGUAGES]
    if missing:
        raise EmptySetError(
            f"The organism does not speak {', '.join(missing)}; choose among {', '.join(ORGANISM_LANGUAGES)}."
        )


def refuse_missing_prompts(source: str, label: Label, languages: Sequence[str]) -> None:
    """Stop if the source has no prompts in a language.

    Raises:
        EmptySetError: says which benchmark has them, and how to bring prompts of one's own.
        MissingInputError: the source is neither a benchmark nor a file.
    """
    available = languages_of(source, label)
    missing = [code for code in languages if code not in available]
    if not missing:
        return
    others = {name: other.languages for name, other in SOURCES.items() if label in other.labels and name != source}
    shared = {name: [code for code in missing if code in codes] for name, codes in others.items()}
    where = "; ".join(f"{name} has {', '.join(codes)}" for name, codes in shared.items() if codes)
    raise EmptySetError(
        f"{source} has no {label} prompts in {', '.join(missing)}, only in {', '.join(available) or 'no language'}; "
        f"{where or 'no other benchmark has them'}. Leave {', '.join(missing)} out, or make a prompt file of your own with every "
        f"language (`ssn data add TABLE --label {label} --out own`) and give --{label} own/prompts.jsonl; `ssn data list` shows "
        f"the benchmarks."
    )


def absent_benchmarks(sources: Sequence[str]) -> list[str]:
    """Those of the sources that are benchmarks of which no file is on this machine."""
    found = {name: presence(SOURCES[name]) for name in dict.fromkeys(sources) if name in SOURCES}
    return [name for name, here in found.items() if not (here.is_own or here.present)]
