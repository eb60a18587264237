"""Ways of choosing neurons, the refusal direction and training-free edits side by side on one model (docs/decisions/0011).

Run it in a working copy of the pipeline whose stages `select` and `train` are done, for example that of `make demo-real`:

    cd real && python ../experiments/real_methods.py --donor lora --borderline FOLDER --out FILE

- Every way of choosing gives one set of shared neurons. The set, and as many random neurons of the same layers and sites, are suppressed and doubled.
- The refusal direction of English is ablated and added, beside random directions of the same length.
- `sparse` and `transplant` edit the weights of SS, and of as many random neurons. The donor of the transplant is the model that `--donor` trained.
- The set is found again on what `--donor` and `--robust` trained, and suppressed there.

Everything is measured on the pipeline's held-out prompts, and what raises refusal also on XSTest's safe prompts and JailbreakBench (`xstest_safe.json` and
`jailbreakbench.json` in FOLDER). Finished conditions are kept; the result is written after each. It holds counts, rates and sizes, and no text.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from real_model import borderline, by_site, counted

from ssn_eval.core import choices, files, origin, params, store
from ssn_eval.core.errors import EmptySetError
from ssn_eval.core.neurons import NeuronSet
from ssn_eval.core.params import Params
from ssn_eval.core.settings import ALONE
from ssn_eval.harness.bench import Bench, Measured
from ssn_eval.identification.agreement import of_rule
from ssn_eval.identification.rules import evidence_of, halves_of
from ssn_eval.identification.selection import matched_random
from ssn_eval.interventions import directions
from ssn_eval.interventions.ops import parse_op
from ssn_eval.models import deltas, loading
from ssn_eval.prompts.jsonl import read_jsonl
from ssn_eval.prompts.prompt import Prompt
from ssn_eval.stages import agreement, evaluation, robustness
from ssn_eval.stages.directing import find_kept
from ssn_eval.stages.hardening import summary
from ssn_eval.stages.select import read
from ssn_eval.training import editing
from ssn_eval.training.adapters.opening import open_trained

PROTOCOL = "docs/decisions/0011-other-methods-on-a-real-model.md"
ARTIFACTS = Path("artifacts")
MODEL, PROMPTS, PAIRS, TRAINED = (ARTIFACTS / name for name in ("model", "prompts.jsonl", "pairs.jsonl", "train"))
WAYS = (
    "paper",
    "contrast",
    "effect_size@activation",
    "shift@activation",
    "activation_gap@activation",
    "paper@attribution",
    "pathway",
)
OPS = ("suppress", "scale:2")
DIRECTION_OPS = ("direction:ablate", "direction:add:1")


class Run:
    """A working copy of the pipeline, and the result that is written after every condition."""

    def __init__(self, folder: Path | None, out: Path) -> None:
        """Measure the base; `folder` holds the borderline prompts, `out` is the result's file."""
        self.settings: Params = params.load(Path("params.yaml"))
        self.spec = loading.read_spec(MODEL / "spec.json")
        self.languages = list(self.settings.languages)
        self._out = out
        self._heldout = evaluation.bench_of(self.settings, MODEL, PROMPTS)
        self._other = Bench(self.spec, borderline(folder), ["en"], self.settings.evaluate) if folder else None
        self.base = self._heldout.unchanged()
        self.result: dict[str, Any] = {
            "protocol": PROTOCOL,
            "seed": self.settings.prompts.seed,
            "languages": self.languages,
            "versions": origin.versions(),
            "sets": {},
            "conditions": {"base": {"heldout": counted(self.base, None, self.languages)}},
        }
        if self._other:
            found = counted(self._other.unchanged(), None, ["en"])
            self.result["conditions"]["base"]["borderline"] = found

    def measure(self, name: str, how: str, *given: Any, raises: bool, control: Measured | None = None) -> Measured:
        """Measure one condition: `how` names a method of `Bench`; `control` is compared with it on the same prompts."""
        found: Measured = getattr(self._heldout, how)(*given)
        entry = {"heldout": counted(found, self.base["counts"], self.languages)}
        if control:
            entry["beyond_control"] = summary(control["counts"], found["counts"], self.languages)
        if raises and self._other:
            entry["borderline"] = counted(getattr(self._other, how)(*given), None, ["en"])
        self.result["conditions"][name] = entry
        self.write()
        rates = {part: round(value, 3) for part, value in entry["heldout"]["rates"].items()}
        print(name, rates, file=sys.stderr, flush=True)
        return found

    def write(self) -> None:
        """Write what there is."""
        files.write_json(self._out, self.result)

    def loaded(self) -> Any:
        """The base model in memory."""
        return self._heldout.loaded()


def chosen(run: Run, donor: str) -> dict[str, NeuronSet]:
    """Every way of choosing → its set; size, sites and stability go into the result."""
    settings = run.settings
    files_by_lang, ref = read(settings.languages, ARTIFACTS / "scores")
    own = evidence_of(settings.hr, files_by_lang), halves_of(settings.hr, files_by_lang)
    source = agreement.Source(settings, MODEL, PROMPTS, PAIRS, TRAINED)
    sets = {}
    for text in (*WAYS, *([f"model_diff:{donor}"] if donor else [])):
        choice = choices.parse(text, ALONE)
        if choice.is_pathway:
            row = agreement.on_pathway(source, "ss", *own)
        else:
            evidence, halves = own if choice.scorer is None else source.evidence(choice)
            row = of_rule(choice.rule, "ss", evidence, halves, settings.select, ref.geometry)
        sets[text] = row.neurons
        stability = dict(row.stability) if row.stability else None
        run.result["sets"][text] = {"sites": by_site(row.neurons), "size": len(row.neurons), "stability": stability}
        print(text, len(row.neurons), file=sys.stderr, flush=True)
    return sets


def measure_sets(run: Run, sets: Mapping[str, NeuronSet]) -> None:
    """Suppress and double every set, and its control."""
    geometry = read(run.settings.languages, ARTIFACTS / "scores")[1].geometry
    for name, neurons in sets.items():
        if not neurons:
            continue
        control = matched_random(neurons, geometry, run.settings.prompts.seed)
        for text in OPS:
            op, raises = parse_op(text), text != "suppress"
            random = run.measure(f"{text} random for {name}", "intervened", control, op, raises=raises)
            run.measure(f"{text} {name}", "intervened", neurons, op, raises=raises, control=random)


def measure_direction(run: Run) -> None:
    """Ablate and add the refusal direction, and a random one."""
    direction = find_kept(run.spec, read_jsonl(PROMPTS), run.settings.hr, run.loaded)
    run.result["direction"] = {"layer": direction.layer}
    control = directions.random_control(direction, run.settings.prompts.seed)
    for text in DIRECTION_OPS:
        op, raises = directions.parse_op(text), "add" in text
        random = run.measure(f"{text} random", "directed", control, op, raises=raises)
        run.measure(text, "directed", direction, op, raises=raises, control=random)


def measure_edits(run: Run, ss: NeuronSet, donor: str, work: Path) -> None:
    """Edit the weights of SS and of its control."""
    base = cache(lambda: loading.load(run.spec))
    control = matched_random(ss, base().ref.geometry, run.settings.prompts.seed)
    prompts = [p for p in read_jsonl(PROMPTS) if p.split == "train"]
    english = {p.id: p.prompt for p in prompts if (p.lang, p.label) == (run.settings.hr, "harmful")}
    weaker = [p for p in prompts if p.lang != run.settings.hr]
    pairs = [(p.prompt, english[p.id]) for p in weaker if p.label == "harmful" and p.id in english]
    harmless = [p.prompt for p in weaker if p.label == "harmless"]
    opened = cache(lambda: open_trained(run.spec, TRAINED / donor).model)
    for edit in ("sparse", *(["transplant"] if donor else [])):
        before = None
        for name, neurons in (("random", control), ("ss", ss)):
            file = work / f"{edit}-{name}.safetensors"
            if not file.is_file():
                try:
                    patches = (
                        editing.sparse(base(), neurons, pairs, harmless)
                        if edit == "sparse"
                        else editing.transplant(base().model, opened(), neurons)
                    )
                except EmptySetError as error:
                    run.result["conditions"][f"{edit} {name}"] = {"not measured": str(error)}
                    run.write()
                    continue
                provenance = {"edit": edit, "neurons": len(neurons), "versions": origin.versions()}
                deltas.save(file, deltas.Delta(patches, base().ref, provenance))
            before = run.measure(f"{edit} {name}", "trained", file, raises=True, control=before)


def measure_robustness(run: Run, methods: Sequence[str], work: Path) -> None:
    """Find SS again on trained models, and suppress it there."""
    settings = run.settings
    prompts: list[Prompt] = read_jsonl(PROMPTS)
    heldout = [p for p in prompts if p.split == "heldout"]
    run.result["robustness"] = {}
    for method in methods:
        folder = TRAINED / method
        again = robustness.find_on(
            run.spec,
            folder,
            prompts,
            run.languages,
            settings.hr,
            settings.score,
            settings.select,
            "ss",
            work / method,
        )
        bench = Bench(run.spec, heldout, run.languages, settings.evaluate, trained=folder)
        found = robustness.measure(bench, again, run.languages, controls=1)
        before = store.load_neurons(ARTIFACTS / "sets/ss.json").neurons
        shared = round(again.neurons.jaccard(before), 4)
        verdict = robustness.hangs_on_the_set(found)
        run.result["robustness"][method] = {**found, "jaccard_with_ss": shared, "hangs_on_the_set": verdict}
        run.write()
        print("robustness", method, verdict, found["suppressed"]["all"], file=sys.stderr, flush=True)


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--donor",
        default="",
        help="a training method of the working copy; without it neither model_diff nor a transplant",
    )
    parser.add_argument("--robust", default="", help="further training methods, with commas between them")
    parser.add_argument("--borderline", type=Path, help="the folder of xstest_safe.json and jailbreakbench.json")
    parser.add_argument("--parts", default="sets,direction,edits,robustness")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    parts, work = given.parts.split(","), Path(".ssn/methods")
    run = Run(given.borderline, given.out)
    sets = chosen(run, given.donor)
    if "sets" in parts:
        measure_sets(run, sets)
    if "direction" in parts:
        measure_direction(run)
    if "edits" in parts:
        measure_edits(run, sets["paper"], given.donor, work)
    if "robustness" in parts:
        measure_robustness(run, [name for name in (given.donor, *given.robust.split(",")) if name], work)


if __name__ == "__main__":
    main()
