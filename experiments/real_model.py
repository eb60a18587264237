"""The conditions of docs/decisions/0007 and 0008 on a real chat model: base, suppressed, multiplied, each beside matched random neurons.

Needs a folder that `real_sets.py` or a pipeline's stage `select` wrote (artifacts/prompts.jsonl, artifacts/sets), and for the borderline prompts a folder with
`xstest_safe.json` and `jailbreakbench.json` (lists of `{"id" or position, "prompt"}`). Finished conditions are kept; the result is written
after each. It holds counts and rates, and no text. `RUN/results` gets the same in the pipeline's own files, for `ssn report` and `real_claims.py`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ssn_eval.core import files, origin, store
from ssn_eval.core.neurons import NeuronSet
from ssn_eval.core.settings import EvaluateParams
from ssn_eval.harness.bench import Bench
from ssn_eval.interventions.ops import parse_op
from ssn_eval.models.loading import ModelSpec
from ssn_eval.prompts.jsonl import read_jsonl
from ssn_eval.prompts.prompt import Prompt
from ssn_eval.stages.hardening import rates, summary

PROTOCOL = "docs/decisions/0007-real-model-protocol.md, 0008-real-models-second-protocol.md"
HARMFUL, HARMLESS, BORDERLINE, ATTACKS = 60, 30, 60, 50
SETTINGS = EvaluateParams(batch_size=64, max_new_tokens=24, capability=None, ability=8)
SUPPRESSED = (
    "ss",
    "random_0",
    "contrast",
    "contrast.random_0",
    "random_1",
    "random_2",
    "private",
    "ss_attention",
    "ss_mlp",
)
DOSES = {
    "ss": (2.0, 1.5, 1.25, 3.0),
    "contrast": (2.0, 1.5, 1.25, 3.0),
    "random_0": (2.0, 1.5),
    "contrast.random_0": (2.0, 1.5),
}


def plan(weaker: Sequence[str]) -> Iterator[tuple[str, str]]:
    """The set and the op of every condition, in the order in which they are measured; `weaker` are the languages other than English."""
    yield from ((name, "suppress") for name in SUPPRESSED)
    for position in range(max(map(len, DOSES.values()))):
        yield from ((name, f"scale:{doses[position]:g}") for name, doses in DOSES.items() if position < len(doses))
    of_language = ("ms_hr", *(f"ms_{lang}" for lang in weaker))
    yield from ((f"{name}{end}", "suppress") for name in of_language for end in ("", ".random_0"))
    yield from ((f"private_{lang}", "suppress") for lang in weaker)


def drawn(name: str, seed: int) -> str:
    """The file of a set in the run of a seed: `random_0` of seed 1 is `random_3`, so that no two seeds share a control."""
    base, random, draw = name.rpartition("random_")
    return f"{base}random_{3 * seed + int(draw)}" if random else name


def first(prompts: Sequence[Prompt], langs: Sequence[str], most: Mapping[str, int]) -> list[Prompt]:
    """The first prompts of every language and label by id: the same ids in every language, or its own if languages share too few."""
    kept = []
    for label, count in most.items():
        ids = {lang: sorted({p.id for p in prompts if (p.lang, p.label) == (lang, label)}) for lang in langs}
        shared = [i for i in ids[langs[0]] if all(i in found for found in map(set, ids.values()))]
        for lang in langs:
            chosen = set((shared if len(shared) >= count else ids[lang])[:count])
            kept += [p for p in prompts if (p.lang, p.label) == (lang, label) and p.id in chosen]
    return kept


def borderline(folder: Path) -> list[Prompt]:
    """Safe prompts that look harmful, and harmful ones of another benchmark than the one that found the neurons; English."""
    sources = (("xstest_safe", "harmless", BORDERLINE), ("jailbreakbench", "harmful", ATTACKS))
    return [
        Prompt(f"{name}-{i}", "en", label, row if isinstance(row, str) else row.get("prompt") or row["instruction"])  # type: ignore[arg-type]
        for name, label, count in sources
        for i, row in enumerate(json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))[:count])
    ]


def counted(found: Mapping[str, Any], before: Mapping[str, Any] | None, langs: Sequence[str]) -> dict[str, Any]:
    """The counts of one condition, and its change against the base."""
    counts = found["counts"]
    result = {"rates": rates(counts)._asdict(), "by_lang": counts["by_lang"], "ability": counts.get("ability")}
    other = {
        lang: sum(row.get("other_language") is True for row in found["replies"] if row["lang"] == lang)
        for lang in langs
    }
    if any(other.values()):
        result["other_language"] = other
    return result if before is None else result | {"change": summary(before, counts, langs)}


def main() -> None:
    """Measure every condition and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, help="the model's folder or hub id")
    parser.add_argument("--run", type=Path, required=True, help="the pipeline's working folder")
    parser.add_argument("--borderline", type=Path, help="the folder of xstest_safe.json and jailbreakbench.json")
    parser.add_argument("--work", type=Path, default=Path("experiments/out/real_model"), help="finished conditions")
    parser.add_argument("--seed", type=int, default=0, help="that of real_sets.py: it names the random controls")
    parser.add_argument(
        "--only", help="measure only these ops, for example suppress,scale:2; finished conditions are reported too"
    )
    parser.add_argument("--sets", help="and only these sets, for example ss,random_0")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    prompts = [p for p in read_jsonl(given.run / "artifacts/prompts.jsonl") if p.split == "heldout"]
    langs = list(dict.fromkeys(p.lang for p in prompts))
    spec = ModelSpec(given.model, dtype="bfloat16")
    benches = {
        "heldout": (
            Bench(spec, first(prompts, langs, {"harmful": HARMFUL, "harmless": HARMLESS}), langs, SETTINGS, given.work),
            langs,
        )
    }
    if given.borderline:
        benches["borderline"] = (Bench(spec, borderline(given.borderline), ["en"], SETTINGS, given.work), ["en"])
    sets: dict[str, NeuronSet] = {
        name: store.load_neurons(given.run / "artifacts/sets" / f"{drawn(name, given.seed)}.json").neurons
        for name in {n for n, _ in plan(langs[1:])}
        if (given.run / "artifacts/sets" / f"{drawn(name, given.seed)}.json").is_file()
    }
    asked = [set(words.split(",")) if words else None for words in (given.sets, given.only)]
    result: dict[str, Any] = {
        "protocol": PROTOCOL,
        "model": Path(given.model).name,
        "languages": langs,
        "seed": given.seed,
        "sizes": {name: len(neurons) for name, neurons in sorted(sets.items())},
        "sets_by_site": {name: by_site(neurons) for name, neurons in sorted(sets.items())},
        "versions": origin.versions(),
        "conditions": {},
    }
    base: dict[str, Any] = {}
    for part, (bench, part_langs) in benches.items():
        base[part] = bench.unchanged()
        result["conditions"].setdefault("base", {})[part] = counted(base[part], None, part_langs)
    measured: dict[str, dict[str, Any]] = {}
    for name, op in plan(langs[1:]):
        if name not in sets:
            continue
        wanted = all(some is None or word in some for some, word in zip(asked, (name, op), strict=True))
        if not wanted and not benches["heldout"][0].has(sets[name], parse_op(op)):
            continue
        for part, (bench, part_langs) in benches.items():
            if part == "borderline" and op == "suppress":
                continue
            found = bench.intervened(sets[name], parse_op(op))
            key = f"{op} {name}"
            if part == "heldout":
                measured.setdefault(drawn(name, given.seed), {})[op] = found["counts"]
            result["conditions"].setdefault(key, {})[part] = counted(found, base[part]["counts"], part_langs)
            files.write_json(given.out, result)
            print(key, part, {k: round(v, 3) for k, v in result["conditions"][key][part]["rates"].items()}, flush=True)
    write_pipeline(given.run, base["heldout"]["counts"], measured)


def write_pipeline(run: Path, base: Mapping[str, Any], measured: Mapping[str, Mapping[str, Any]]) -> None:
    """Write `RUN/results` as the pipeline does: `select.json`, `evaluate/base.json` and a file in `validate` for each set."""
    results = run / "results"
    files.write_json(results / "select.json", files.read_json(run / "summary.json", "the summary of real_sets.py"))
    files.write_json(results / "evaluate/base.json", base)
    for name, conditions in measured.items():
        files.write_json(results / f"validate/{name}.json", {"set": name, "conditions": conditions})


def by_site(neurons: NeuronSet) -> dict[str, int]:
    """How many neurons of a set lie at each kind of site."""
    counts: dict[str, int] = {}
    for key, indices in neurons.by_key().items():
        site = key.rpartition(".")[2]
        counts[site] = counts.get(site, 0) + len(indices)
    return counts


if __name__ == "__main__":
    main()
