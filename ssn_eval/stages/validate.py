"""Stage 5: suppress and amplify every neuron set, and measure; the refusal direction beside them. MODEL PROMPTS SETS OUT SAMPLES."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ssn_eval.core import files, presets, store
from ssn_eval.core.neurons import NeuronSet
from ssn_eval.core.params import Params
from ssn_eval.core.progress import progress
from ssn_eval.core.setnames import SetName
from ssn_eval.interventions import directions
from ssn_eval.interventions.ops import parse_op
from ssn_eval.models import loading
from ssn_eval.prompts.jsonl import read_jsonl
from ssn_eval.stages.common import need, provenance, run_stage
from ssn_eval.stages.directing import by_name, find_kept
from ssn_eval.stages.evaluation import bench_of, mean_refusal, rates_by_name, write_samples
from ssn_eval.stages.story import counted

if TYPE_CHECKING:
    from ssn_eval.harness.bench import Bench
    from ssn_eval.interventions.directions import Direction

SUPPRESS = "suppress"


def main(settings: Params, model: Path, prompt_file: Path, sets: Path, out: Path, samples: Path) -> str:
    """Write a file a set: `{"set", "size", "conditions": {op: counts}}` and a row for every reply; an empty set has neither.

    If an op is one of the refusal direction, `direction` and each of its random controls have a file, too, with the `layer` in place of the size.

    Returns:
        How much is refused with each set suppressed.
    """
    neurons_by_set = {name: _neurons(settings, need(sets, "select"), name) for name in settings.validate.sets}
    ops_by_set = {
        name: [parse_op(text) for text in settings.validate.ops_of(name)] if neurons else []
        for name, neurons in neurons_by_set.items()
    }
    direction_ops = [directions.parse_op(text) for text in settings.validate.direction_ops]
    bench, origin = bench_of(settings, model, prompt_file), provenance(settings, prompts=prompt_file)
    count = sum(map(len, ops_by_set.values())) + len(direction_ops) * len(settings.validate.directions)
    with (
        files.atomic(out) as results,
        files.atomic(samples) as replies,
        progress("validating", count) as advance,
    ):
        suppressed: dict[str, float | None] = {}
        for name, neurons in neurons_by_set.items():
            conditions, rows = {}, []
            for op in ops_by_set[name]:
                found = bench.intervened(neurons, op)
                conditions[str(op)] = found["counts"]
                rows += [{"condition": f"{op} {name}"} | row for row in found["replies"]]
                advance()
            content = {"set": name, "size": len(neurons), "conditions": conditions, "provenance": origin}
            files.write_json(results / f"{name}.json", content)
            write_samples(replies / f"{name}.jsonl", rows)
            if SUPPRESS in conditions:
                suppressed[name] = mean_refusal(conditions[SUPPRESS])
        for name, direction in _directions(settings, bench, model, prompt_file).items():
            found_by_op = {str(op): bench.directed(direction, op) for op in direction_ops}
            conditions = {op: found["counts"] for op, found in found_by_op.items()}
            rows = [
                {"condition": f"{op} {name}"} | row for op, found in found_by_op.items() for row in found["replies"]
            ]
            advance(len(direction_ops))
            content = {"set": name, "layer": direction.layer, "conditions": conditions, "provenance": origin}
            files.write_json(results / f"{name}.json", content)
            write_samples(replies / f"{name}.jsonl", rows)
    measured = counted(count, "condition")
    return f"{measured}; suppressed, mean refusal: {rates_by_name(suppressed)}"


def _directions(settings: Params, bench: Bench, model: Path, prompt_file: Path) -> dict[str, Direction]:
    """The refusal direction and its random controls; empty if no op asks for them."""
    if not settings.validate.direction_ops:
        return {}
    spec = loading.read_spec(model / "spec.json")
    direction = find_kept(spec, read_jsonl(prompt_file), settings.hr, bench.loaded)
    return by_name(direction, settings.validate)


def _neurons(settings: Params, sets: Path, name: str) -> NeuronSet:
    """The neurons of a set; none if the set may be missing and is.

    Raises:
        MissingInputError: `select` did not make the set.
    """
    path = sets / f"{presets.check_set(name, settings.targets)}.json"
    if not SetName.parse(name).may_be_missing:
        need(path, "select")
    return store.load_neurons(path).neurons if path.is_file() else NeuronSet.of([])


if __name__ == "__main__":
    run_stage(main)
