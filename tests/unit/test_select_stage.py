"""The select stage on drawn scores: which files it writes, what it sums up, and one sentence for every bad input."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from ssn_eval.core import origin, store
from ssn_eval.core.neurons import Geometry, NeuronSet
from ssn_eval.identification import selection
from ssn_eval.identification.accumulate import Sums
from ssn_eval.prompts.prompt import LABELS
from ssn_eval.stages import select, validate
from ssn_eval.stages.common import run_stage

SHIPPED = Path(__file__).resolve().parents[2] / "params.yaml"
WIDTHS = {"q_proj": 30, "o_proj": 30, "mlp": 90}
GEOMETRY = Geometry({f"layers.{i}.{site}": width for i in range(4) for site, width in WIDTHS.items()})
LANGS = ("en", "zh", "th", "bn", "sw")


def model(weights: str = "a" * 64) -> origin.ModelRef:
    return origin.ModelRef("tiny", weights, "llama", GEOMETRY)


def write(path: Path, seed: int, label: str, ref: origin.ModelRef | None = None) -> None:
    """Scores that all languages share for the larger part."""
    parts = [np.random.default_rng([part, label == "harmful"]) for part in (1000, seed)]
    values = {k: parts[0].random(w) * 3 + parts[1].random(w) for k, w in GEOMETRY.widths.items()}
    store.save_scores(path, store.ScoreFile({k: v.astype(np.float32) for k, v in values.items()}, ref or model()))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A pipeline's folder after the score stage."""
    monkeypatch.chdir(tmp_path)
    for i, lang in enumerate(LANGS):
        for label in LABELS:
            write(tmp_path / "scores" / lang / f"{label}.safetensors", i, label)
            for half in (0, 1):
                write(
                    tmp_path / "scores" / lang / "halves" / str(half) / f"{label}.safetensors", 50 + 2 * i + half, label
                )
    configure(tmp_path)
    return tmp_path


def configure(folder: Path, **sections: Any) -> None:
    data = yaml.safe_load(SHIPPED.read_text()) | {"languages": list(LANGS)}
    for name, values in ({"select": {"p": 10.0}} | sections).items():
        data[name] = data[name] | values if isinstance(values, dict) and name != "targets" else values
    (folder / "params.yaml").write_text(yaml.safe_dump(data))


def stage(monkeypatch: pytest.MonkeyPatch, main: Any = select.main, *paths: str) -> int:
    """Run a stage as `python -m` does; its exit code."""
    monkeypatch.setattr(sys, "argv", ["stage", *(paths or ("scores", "sets", "results/select.json"))])
    try:
        run_stage(main)
    except SystemExit as error:
        return int(error.code or 0)
    return 0


def neurons(name: str):
    return store.load_neurons(Path("sets") / f"{name}.json").neurons


def summary() -> dict[str, Any]:
    return json.loads(Path("results/select.json").read_text())


def test_every_preset_and_the_controls_asked_for_are_files(folder, monkeypatch):
    configure(
        folder,
        targets={
            "low": {"from": "ss", "tier": "LR", "k": 2},
            "up": {"from": "ss", "sites": "mlp", "layers": [0.5, 1.0]},
        },
        validate={"sets": ["ss", "low.random_5"]},
        train={"methods": ["ssn", "up.random_0"]},
    )
    assert stage(monkeypatch) == 0
    assert neurons("low") == neurons("ss/bn") & neurons("ss/sw")
    assert neurons("up").members == {n for n in neurons("ss") if n.site == "mlp" and n.layer >= 2}
    assert neurons("low.random_5") == selection.matched_random(neurons("low"), GEOMETRY, 5)
    assert neurons("up.random_0").per_key() == neurons("up").per_key()
    made = store.load_neurons(Path("sets/low.json")).provenance
    assert (made["set"], made["preset"]) == ("low", {"from": ["ss"], "tier": ["LR"], "k": 2})
    assert summary()["targets"] == {n: len(neurons(n)) for n in ("low", "up", "low.random_5", "up.random_0")}
    top = {p.stem for p in Path("sets").glob("*.json")}
    assert top == {"ms_hr", "ss", "private", "random_0", "random_1", "random_2", *summary()["targets"]}


def test_presets_leave_the_named_sets_as_they_were(folder, monkeypatch):
    assert stage(monkeypatch) == 0
    with_presets = {p.relative_to("sets"): p.read_bytes() for p in Path("sets").rglob("*.json")}
    configure(folder, targets={})
    assert stage(monkeypatch) == 0
    without = {p.relative_to("sets"): p.read_bytes() for p in Path("sets").rglob("*.json")}
    assert len(without) == 5 + 4 + 4 + 6 < len(with_presets)
    assert without == {name: with_presets[name] for name in without}


def test_a_preset_on_a_pathway_is_made_if_validate_train_or_the_frontier_asks_for_it(folder, monkeypatch, capsys):
    """Only it needs the model, so nothing is loaded without need; the model's part is tested in test_acting.py."""
    calls: list[tuple[str, ...]] = []
    step = [2]

    def on_pathway(preset: Any, of: NeuronSet) -> NeuronSet:
        calls.append(preset.pathway)
        return NeuronSet(frozenset(sorted(of.members)[:: step[0]] if step[0] else ()))

    monkeypatch.setattr(select, "_on_pathway", lambda *_inputs: on_pathway)
    assert stage(monkeypatch) == 0 and not calls and not Path("sets/pathway_hr.json").exists()
    configure(folder, train={"methods": ["ssn", "pathway"]}, validate={"sets": ["ss", "pathway_hr.random_1"]})
    assert stage(monkeypatch) == 0 and calls == [("hr",)]
    assert neurons("pathway_hr").members == set(sorted(neurons("ms_hr").members)[::2])
    assert neurons("pathway_hr.random_1").per_key() == neurons("pathway_hr").per_key()
    made = store.load_neurons(Path("sets/pathway_hr.json")).provenance
    assert made["preset"] == {"from": ["ms_hr"], "pathway": ["hr"]} and "stability" not in made
    assert "pathway_hr" not in summary()["stability"]["sets"] and summary()["targets"]["pathway_hr"] == len(
        neurons("pathway_hr")
    )
    configure(folder, frontier={"methods": ["pathway_hr.random_0"]})
    assert stage(monkeypatch) == 0 and len(calls) == 2 and Path("sets/pathway_hr.json").exists()
    step[0] = 0
    assert stage(monkeypatch) == 0 and "there is no pathway" in summary()["targets_absent"]["pathway_hr"]
    configure(folder, train={"methods": ["pathway"]})
    assert stage(monkeypatch) == 2 and "leave pathway_hr out" in capsys.readouterr().err


def test_a_preset_that_nothing_asks_for_may_find_nothing(folder, monkeypatch, capsys):
    targets = {"high": {"from": "ss", "tier": "HR", "k": "all"}, "thin": {"from": "ss", "layers": [0.5, 0.6]}}
    configure(folder, languages=["en", "th", "bn"], targets=targets)
    assert stage(monkeypatch) == 0
    assert set(summary()["targets_absent"]) == {"high", "thin"} and not summary()["targets"]
    said = capsys.readouterr().err
    assert "targets.high" in said and "targets.thin" in said and said.count("\n") == 2
    before = Path("sets/ss.json").read_bytes()
    configure(folder, targets=targets, train={"methods": ["ssn", "thin"]})
    assert stage(monkeypatch) == 2
    assert "targets.thin.layers" in capsys.readouterr().err and Path("sets/ss.json").read_bytes() == before


def test_the_summary_holds_profiles_sharing_movement_and_stability(folder, monkeypatch):
    configure(folder, select={"p": 10.0, "sensitivity": [1, 5, 10]}, targets={"low": {"from": "ss", "tier": "LR"}})
    assert stage(monkeypatch) == 0
    found = summary()
    for lang in LANGS[1:]:
        assert sum(found["ss_per_layer"][lang].values()) == found["sizes"]["ss"][lang] == len(neurons(f"ss/{lang}"))
    assert found["sharing"]["NHR"]["1"] == len(neurons("ss")) and set(found["sharing"]["LR"]) == {"1", "2"}
    by_p = {(row["set"], row["p"]): row for row in found["by_p"]}
    assert {p for _, p in by_p} == {1, 5, 10} and {"low", "ss", "ms/th", "private/bn"} <= {name for name, _ in by_p}
    assert by_p["ss", 10.0] == {"set": "ss", "p": 10.0, "size": len(neurons("ss")), "jaccard": 1.0}
    assert by_p["ss", 1.0]["jaccard"] < by_p["ss", 5.0]["jaccard"] < 1
    stable = found["stability"]
    assert {"ms/en", "ss", "low", "private/sw"} <= set(stable["sets"]) and not {"random_0"} & set(stable["sets"])

    def half(h: int, label: str) -> store.Scores:
        return store.load_scores(Path(f"scores/en/halves/{h}/{label}.safetensors")).scores

    halves = [selection.ms(half(h, LABELS[0]), half(h, LABELS[1]), 10) for h in (0, 1)]
    assert stable["sets"]["ms/en"]["sizes"] == [len(one) for one in halves]
    assert (
        stable["sets"]["ms_hr"]["jaccard"] == round(halves[0].jaccard(halves[1]), 4) > stable["sets"]["ms_hr"]["chance"]
    )
    assert set(stable["spearman"]) == set(LANGS)
    assert all(0.5 < stable["spearman"]["th"][label]["all"] < 1 for label in LABELS)


def test_without_halves_there_is_no_stability_and_the_rest_stays(folder, monkeypatch):
    assert stage(monkeypatch) == 0
    with_halves = summary()
    for lang in LANGS:
        shutil.rmtree(folder / "scores" / lang / "halves")
    assert stage(monkeypatch) == 0
    found = summary()
    assert found["stability"] is None and with_halves["stability"]
    rows, rows_with_halves = (one["agreement"]["rows"] for one in (found, with_halves))
    assert rows_with_halves[0]["stability"] and rows == [row | {"stability": None} for row in rows_with_halves]
    changing = ("stability", "provenance", "agreement")
    assert {k: v for k, v in found.items() if k not in changing} == {
        k: v for k, v in with_halves.items() if k not in changing
    }


def test_global_scope_is_recorded(folder, monkeypatch):
    assert stage(monkeypatch) == 0
    assert "scope" not in store.load_neurons(Path("sets/ss.json")).provenance, "files of the default stay as they were"
    by_layer = neurons("ms_hr")
    configure(folder, select={"p": 10.0, "scope": "global"})
    assert stage(monkeypatch) == 0
    assert neurons("ms_hr") != by_layer and summary()["scope"] == "global"
    assert store.load_neurons(Path("sets/ss.json")).provenance["scope"] == "global"


def test_only_the_scored_sites_are_candidates(folder, monkeypatch):
    for path in (folder / "scores").rglob("*.safetensors"):
        file = store.load_scores(path)
        kept = {k: v for k, v in file.scores.items() if "mlp" not in k}
        store.save_scores(path, store.ScoreFile(kept, file.model))
    configure(folder, targets={})
    assert stage(monkeypatch) == 0
    assert summary()["candidates"] == 4 * 60 and {r["sites"] for r in summary()["sensitivity"]} == {"both", "attention"}


def with_statistics(lang: int, label: str) -> store.ScoreFile:
    """Scores of 12 prompts, with their statistics; neurons 0 and 1 of every site matter more for harmful prompts."""
    generator = np.random.default_rng([lang, label == "harmful"])
    values = {key: np.exp(generator.normal(0, 0.4, (12, w))) for key, w in GEOMETRY.widths.items()}
    for of_site in values.values():
        of_site[:, :2] *= 3 if label == "harmful" else 1
    sums = Sums.empty(GEOMETRY.widths)
    sums.add(range(12), {key: of_site.astype(np.float32) for key, of_site in values.items()})
    return store.ScoreFile(sums.mean(), model(), {}, sums.statistics())


def test_contrast_is_a_preset_with_controls_and_a_rule(folder, monkeypatch):
    """All that `validate.sets: [ss, contrast, random_0]` and `train.methods: [contrast]` need, from files with statistics."""
    for i, lang in enumerate(LANGS):
        shutil.rmtree(folder / "scores" / lang / "halves")
        for label in LABELS:
            store.save_scores(Path(f"scores/{lang}/{label}.safetensors"), with_statistics(i, label))
    sections = {
        "validate": {"sets": ["ss", "contrast", "random_0", "contrast.random_0"]},
        "train": {"methods": ["contrast"]},
    }
    configure(folder, **sections)
    assert stage(monkeypatch) == 0
    assert len(neurons("contrast")) == len(neurons("ss")) and not summary()["targets_absent"]
    planted = {n for n in neurons("contrast") if n.index < 2}
    assert len(planted) > 0.9 * min(len(neurons("contrast")), 2 * len(GEOMETRY.widths))
    assert neurons("contrast.random_0").per_key() == neurons("contrast").per_key()
    assert not neurons("contrast.random_0") & neurons("contrast")
    assert {n.index for n in neurons("contrast_fdr")} == {0, 1}
    stable = summary()["stability"]["sets"]
    assert {"contrast", "contrast_fdr", "ss", "ms/th"} <= set(stable) and stable["contrast"]["chance"] < 0.5
    assert stable["contrast_fdr"]["sizes"] == [0, 0], "six prompts a half discover nothing, and the summary says so"
    assert (
        summary()["contrast"]["contrast"]["th"]["above_zero"]
        > summary()["contrast"]["contrast.random_0"]["th"]["above_zero"]
    )
    file = store.load_neurons(Path("sets/contrast.json"))
    assert file.provenance["stability"] == stable["contrast"] and set(file.contrast) == set(LANGS)
    assert set(store.load_neurons(Path("sets/ms/th.json")).contrast) == {"en", "th"}
    by_preset = neurons("contrast")
    configure(folder, **sections, select={"p": 10.0, "rule": "contrast"})
    assert stage(monkeypatch) == 0
    assert neurons("ss") == by_preset == neurons("contrast") and summary()["rule"] == "contrast"
    assert store.load_neurons(Path("sets/ss.json")).provenance["rule"] == "contrast"


def test_contrast_without_statistics_is_asked_for_again(folder, monkeypatch, capsys):
    configure(folder, validate={"sets": ["ss", "contrast"]})
    assert stage(monkeypatch) == 2
    said = capsys.readouterr().err
    assert "targets.contrast cannot be made" in said and "score again" in said and said.count("\n") == 1
    configure(folder, select={"p": 10.0, "rule": "contrast"})
    assert stage(monkeypatch) == 2
    assert "The rule contrast needs the statistics" in capsys.readouterr().err


def spoil(path: str, how: str) -> None:
    file = Path("scores") / path
    if how == "missing":
        file.unlink()
    elif how == "other model":
        write(file, 1, "harmful", model("b" * 64))
    else:
        data = bytearray(file.read_bytes())
        data[-4:] = np.float32(how).tobytes()
        file.write_bytes(data)


@pytest.mark.parametrize(
    ("path", "how", "said"),
    [
        ("th/harmless.safetensors", "missing", "dvc repro score"),
        ("bn/halves/1/harmless.safetensors", "missing", "dvc repro score"),
        ("zh/harmful.safetensors", "nan", "layers.3.q_proj hold NaN"),
        ("zh/harmless.safetensors", "inf", "layers.3.q_proj hold NaN or infinite"),
        ("sw/harmful.safetensors", "other model", "another model"),
        ("sw/halves/0/harmful.safetensors", "other model", "another model"),
    ],
)
def test_bad_scores_stop_with_one_sentence_and_write_nothing(folder, monkeypatch, capsys, path, how, said):
    spoil(path, how)
    assert stage(monkeypatch) == 2
    message = capsys.readouterr().err
    assert said in message and message.count("\n") == 1 and message.startswith("ssn_eval: ")
    assert not Path("sets").exists() and not Path("results").exists()


@pytest.mark.parametrize(
    ("sections", "said"),
    [
        ({"select": {"p": 101}}, "select.p must be a percentage in (0, 100], got 101"),
        ({"select": {"sensitivity": [0]}}, "select.sensitivity must be"),
        ({"select": {"scope": "globl"}}, "select.scope"),
        ({"select": {"p": 100.0, "random_seeds": [0]}, "validate": {"sets": ["ms_hr.random_0"]}}, "No matched random"),
        ({"select": {"rule": "contrasts"}}, "Unknown selection rule 'contrasts'. Did you mean contrast"),
        ({"select": {"rate": 1.0}}, "select.rate must be a rate between 0 and 1"),
        ({"targets": {"x": {"from": "ss", "k": 5}}}, "targets.x.k is 5, but it counts only 4"),
        ({"validate": {"sets": ["ss_lo"]}}, "Unknown set 'ss_lo'. Did you mean ss_lr"),
    ],
)
def test_bad_settings_stop_with_one_sentence(folder, monkeypatch, capsys, sections, said):
    configure(folder, **sections)
    assert stage(monkeypatch) == 2
    message = capsys.readouterr().err
    assert said in message and message.count("\n") == 1
    assert not Path("sets").exists()


def test_a_control_needs_as_many_other_neurons(folder, monkeypatch, capsys):
    """Every neuron of q_proj is a safety neuron, so that none is left for a control."""
    configure(folder, targets={}, select={"p": 20.0})
    for lang in LANGS:
        for label, high in (("harmful", "q_proj"), ("harmless", "mlp")):
            values = {k: np.full(w, high in k, np.float32) for k, w in GEOMETRY.widths.items()}
            store.save_scores(Path(f"scores/{lang}/{label}.safetensors"), store.ScoreFile(values, model()))
    assert stage(monkeypatch) == 2
    message = capsys.readouterr().err
    assert "layers.0.q_proj has 0 neurons outside the set, fewer than the 30 of its control" in message
    assert message.count("\n") == 1 and not Path("sets").exists()


def test_validate_refuses_a_name_that_no_set_has(folder, monkeypatch, capsys):
    row = {"id": "1", "lang": "en", "label": "harmful", "prompt": "?", "split": "heldout"}
    Path("prompts.jsonl").write_text(json.dumps(row))
    Path("sets").mkdir()
    for name, said in (("ss_l", "Did you mean ss_lr"), ("ss_lr", "sets/ss_lr.json is not there yet")):
        configure(folder, validate={"sets": [name]})
        assert stage(monkeypatch, validate.main, "model", "prompts.jsonl", "sets", "out", "samples") == 2
        assert said in capsys.readouterr().err and not Path("out").exists()
