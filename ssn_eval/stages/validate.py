"""Stage 5: suppress and amplify one neuron set, and measure. SET MODEL PROMPTS SETS OUT SAMPLES."""

from __future__ import annotations

from pathlib import Path

from ssn_eval.core import files, presets, store
from ssn_eval.core.params import Params
from ssn_eval.core.setnames import SetName
from ssn_eval.interventions.hooks import intervene
from ssn_eval.interventions.ops import parse_op
from ssn_eval.stages.common import need, provenance, run_stage
from ssn_eval.stages.evaluation import heldout, open_model, write_samples


def main(settings: Params, name: Path, model: Path, prompt_file: Path, sets: Path, out: Path, samples: Path) -> None:
    """Write `{"set", "size", "conditions": {op: counts}}` and a row for every reply; an empty set has neither."""
    from ssn_eval.harness.evaluate import evaluate

    prompts = heldout(prompt_file)
    ops = [parse_op(text) for text in settings.validate.ops_of(name.as_posix())]
    path = need(sets, "select") / f"{presets.check_set(name.as_posix(), settings.targets)}.json"
    if not SetName.parse(name.as_posix()).may_be_missing:
        need(path, "select")
    origin = provenance(settings, prompts=prompt_file)
    if not path.is_file() or not (file := store.load_neurons(path)).neurons:
        files.write_json(out, {"set": str(name), "size": 0, "conditions": {}, "provenance": origin})
        files.write_text(samples, "")
        return
    lm = open_model(settings, model)
    conditions, rows = {}, []
    for op in ops:
        with intervene(lm.model, file.neurons, op):
            evaluation = evaluate(lm, prompts, settings.languages, settings.evaluate)
        conditions[str(op)] = evaluation.counts
        rows += [{"condition": f"{op} {name}"} | row for row in evaluation.replies]
    files.write_json(out, {"set": str(name), "size": len(file.neurons), "conditions": conditions, "provenance": origin})
    write_samples(samples, rows)


if __name__ == "__main__":
    run_stage(main)
