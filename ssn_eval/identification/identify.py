"""From prompts to a score file: choose prompts, encode them as the model sees them, score, and record how."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ssn_eval.core import lock
from ssn_eval.core.errors import EmptySetError
from ssn_eval.core.neurons import NeuronSet, expand_sites
from ssn_eval.core.origin import versions
from ssn_eval.core.processes import is_main
from ssn_eval.core.settings import ScoreParams
from ssn_eval.core.store import ScoreFile
from ssn_eval.identification.importance import Measurement, measure
from ssn_eval.prompts.encoding import context_length, encode, subsample
from ssn_eval.prompts.prompt import Prompt

if TYPE_CHECKING:
    from ssn_eval.models.loading import Loaded


class Identified(NamedTuple):
    """The scores of a prompt set, and of its two halves if there are two prompts or more."""

    whole: ScoreFile
    halves: tuple[ScoreFile, ScoreFile] | None


@contextmanager
def work_folder(path: Path) -> Iterator[Path]:
    """A folder for the sums of an unfinished run, for one run at a time; it is removed when the body has succeeded.

    Raises:
        BusyError: another identification works there.
    """
    with lock.hold(path, "identification") if is_main() else nullcontext():
        yield path
        shutil.rmtree(path, ignore_errors=True)


def identify(
    loaded: Loaded,
    prompts: Sequence[Prompt],
    settings: ScoreParams = ScoreParams(),
    *,
    neurons: NeuronSet | None = None,
    against: Loaded | None = None,
    work: Path | None = None,
    say: Callable[[str], None] = lambda _line: None,
) -> Identified:
    """Score every neuron of the chosen sites on prompts of one language and label.

    Args:
        loaded: the model, its tokenizer and identity.
        prompts: of one language and label.
        settings: the scorer, the sites, and the largest number of prompts.
        neurons: measure only these (`exact`).
        against: the second model of `model_diff`.
        work: a folder for the sums of an unfinished run (`work_folder`).
        say: gets a line on the memory that the run needs, and one on prompts that were cut.

    Raises:
        EmptySetError: no prompt.
        MismatchError: `neurons` lie outside the model.
        MemoryNeedError: the run cannot fit.
        as `measure`.
    """
    from ssn_eval.identification.memory import fit
    from ssn_eval.models.architectures.resolving import refuse_without_sites, resolve

    if not prompts:
        raise EmptySetError("No prompt to identify neurons on.")
    if neurons is not None:
        loaded.ref.geometry.check(neurons)
    drawn = subsample(prompts, settings.prompts, settings.seed)
    context = context_length(loaded.model)
    responses = [p.response for p in drawn] if settings.position == "response" else []
    encoded = encode(loaded.tokenizer, [p.prompt for p in drawn], context, responses)
    if encoded.truncated:
        say(
            f"{encoded.truncated} of {len(drawn)} prompts are longer than the context of {context} tokens: their beginning was cut"
        )
    sites = expand_sites(settings.sites)
    refuse_without_sites(loaded.model, sites)
    fitting = fit(loaded.model, resolve(loaded.model, sites), [len(ids) for ids in encoded.ids], settings, say)
    measurement = measure(
        loaded.model,
        encoded.ids,
        fitting,
        prompt_lengths=encoded.prompt_lengths,
        neurons=None if neurons is None else neurons.by_key(),
        work=work,
        run={"model": loaded.ref.weights, **({"against": against.ref.weights} if against else {})},
        other=against.model if against else None,
    )
    provenance = {
        **{k: v for k, v in asdict(settings).items() if v is not None and k not in ("batch_size", "checkpointing")},
        "sites": list(sites),
        "probes": settings.probes if settings.method == "sketch" else None,
        "lang": drawn[0].lang,
        "label": drawn[0].label,
        "prompts": measurement.prompts,
        "truncated": encoded.truncated,
        "template": loaded.template.to_json(),
        "restricted_to": None if neurons is None else len(neurons),
        "prompts_sha256": hashlib.sha256("\n".join(p.prompt for p in drawn).encode()).hexdigest(),
        "reliability": {k: v and round(v, 6) for k, v in measurement.reliability().items()},
        **({"against": against.ref.to_json()} if against else {}),
        "versions": versions(),
    }
    return _files(loaded, measurement, provenance)


def _files(loaded: Loaded, measurement: Measurement, provenance: dict[str, object]) -> Identified:
    whole = ScoreFile(measurement.scores, loaded.ref, provenance, measurement.statistics)
    if measurement.halves is None:
        return Identified(whole, None)
    first, second = (ScoreFile(half, loaded.ref, provenance | {"half": n}) for n, half in enumerate(measurement.halves))
    return Identified(whole, (first, second))
