"""The command `ssn` without a model: help, exit codes, one sentence for every mistake, and nothing written after one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from ssn_eval.cli import main
from ssn_eval.core import origin, store
from ssn_eval.core.neurons import Geometry, NeuronSet

GEOMETRY = Geometry({f"layers.{i}.{site}": 20 for i in range(2) for site in ("q_proj", "o_proj")})
MODEL = origin.ModelRef("tiny", "a" * 64, "llama", GEOMETRY)
OTHER = origin.ModelRef("other", "b" * 64, "llama", GEOMETRY)
COMMANDS = ("identify", "select", "show", "diff", "combine", "export", "import", "calibrate", "report", "doctor")


def ssn(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments])


def refused(result: Result, *words: str) -> None:
    """Exit code 2, one sentence on stderr, nothing on stdout, no traceback."""
    assert result.exit_code == 2, result.output
    assert isinstance(result.exception, SystemExit)
    assert result.stdout == ""
    assert result.stderr.startswith("Error: ") and result.stderr.count("\n") == 1, result.stderr
    for word in words:
        assert word in result.stderr


def object_of(result: Result) -> dict:
    assert result.exit_code == 0, result.output
    assert result.stdout.count("\n") == 1
    return json.loads(result.stdout)


def saved(path: Path, by_key: dict[str, list[int]], model: origin.ModelRef = MODEL) -> Path:
    store.save_neurons(path, store.NeuronFile(NeuronSet.from_keys(by_key), model, {"what": "test"}))
    return path


def scored(path: Path, first: int, label: str, lang: str = "th", model: origin.ModelRef = MODEL) -> Path:
    """Scores that fall from neuron `first` on, around the end: the top of each site starts there."""
    values = {key: np.roll(np.arange(20, 0, -1), first).astype(np.float32) for key in GEOMETRY.widths}
    made = {"label": label, "lang": lang, "method": "exact"}
    store.save_scores(path, store.ScoreFile(values, model, made))
    return path


@pytest.fixture
def pair(tmp_path: Path) -> tuple[str, Path, str, Path]:
    """At p = 10 % the harmful top is neurons 4 and 5 of each site, the harmless top 5 and 6: MS is neuron 4."""
    return (
        "--harmful",
        scored(tmp_path / "h.safetensors", 4, "harmful"),
        "--harmless",
        scored(tmp_path / "n.safetensors", 5, "harmless"),
    )


def test_help_names_every_command_and_imports_nothing_heavy():
    code = (
        "import sys; from ssn_eval.cli import main\n"
        "try: main(['--help'])\n"
        "finally: print(sorted({'torch', 'transformers', 'numpy', 'sklearn', 'lm_eval'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and done.stderr.strip() == "[]"
    assert all(f"\n  {name} " in done.stdout for name in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_each_command_has_an_example_and_json(command):
    shown = ssn(command, "--help")
    assert shown.exit_code == 0
    assert f"Example: ssn {command}" in shown.stdout and "--json" in shown.stdout


def test_wrong_usage_exits_2():
    assert ssn("nothing").exit_code == 2
    assert ssn("select").exit_code == 2
    assert ssn("show").exit_code == 2


def test_show_a_neuron_set(tmp_path):
    path = saved(tmp_path / "s.json", {"layers.0.q_proj": [1, 2], "layers.1.o_proj": [3]})
    value = object_of(ssn("show", path, "--json"))
    assert (value["kind"], value["neurons"]) == ("neurons", 3)
    assert value["per_key"] == {"layers.0.q_proj": 2, "layers.1.o_proj": 1}
    assert value["model"]["id"] == "tiny" and value["provenance"] == {"what": "test"}
    assert "3 of 80 neurons of tiny" in ssn("show", path).stdout


def test_show_a_score_file(tmp_path):
    path = scored(tmp_path / "h.safetensors", 0, "harmful")
    value = object_of(ssn("show", path, "--json"))
    assert (value["kind"], value["scored"]) == ("scores", 80)
    assert set(value["mean"]) == set(GEOMETRY.widths) and value["mean"]["layers.0.q_proj"] == 10.5
    assert "10.5" in ssn("show", path).stdout


def test_show_takes_the_experts_of_a_layer_together(tmp_path):
    experts = [f"layers.0.mlp.{e}" for e in range(3)]
    model = origin.ModelRef("moe", "c" * 64, "mixtral", Geometry(dict.fromkeys(["layers.0.q_proj", *experts], 2)))
    values = {key: np.full(2, i, dtype=np.float32) for i, key in enumerate(["layers.0.q_proj", *experts])}
    store.save_scores(tmp_path / "s.safetensors", store.ScoreFile(values, model))
    assert object_of(ssn("show", tmp_path / "s.safetensors", "--json"))["mean"] == {
        "layers.0.q_proj": 0.0,
        "layers.0.mlp": 2.0,
    }
    path = saved(tmp_path / "n.json", {"layers.0.mlp.0": [1], "layers.0.mlp.2": [0, 1]}, model)
    shown = object_of(ssn("show", path, "--json"))
    assert shown["per_key"] == {"layers.0.mlp": 3}
    assert shown["model"]["geometry"]["sites"]["mlp"] == {"experts": 3, "width": 2}
    assert store.load_neurons(path).neurons.by_key() == {"layers.0.mlp.0": [1], "layers.0.mlp.2": [0, 1]}


def test_diff(tmp_path):
    a = saved(tmp_path / "a.json", {"layers.0.q_proj": [1, 2, 3]})
    b = saved(tmp_path / "b.safetensors", {"layers.0.q_proj": [3], "layers.1.o_proj": [0]})
    assert object_of(ssn("diff", a, b, "--json")) == {"shared": 1, "only_first": 2, "only_second": 1, "jaccard": 0.25}
    assert "0.250" in ssn("diff", a, b).stdout
    refused(ssn("diff", a, saved(tmp_path / "c.json", {"layers.0.q_proj": [1]}, OTHER)), "another model")


@pytest.mark.parametrize("kind", ["json", "csv", "safetensors"])
def test_export(tmp_path, kind):
    source, out = saved(tmp_path / "s.json", {"layers.1.o_proj": [7, 2]}), tmp_path / f"out.{kind}"
    assert object_of(ssn("export", source, "--format", kind, "--out", out, "--json"))["neurons"] == 2
    if kind == "csv":
        assert out.read_text() == "layer,site,index\n1,o_proj,2\n1,o_proj,7\n"
    else:
        assert store.load_neurons(out) == store.load_neurons(source)


def test_export_refuses_another_ending_and_a_folder(tmp_path):
    source, out = saved(tmp_path / "s.json", {"layers.1.o_proj": [7]}), tmp_path / "out.json"
    out.write_text("mine")
    refused(ssn("export", source, "--format", "csv", "--out", out), ".csv")
    assert out.read_text() == "mine"
    (tmp_path / "folder.csv").mkdir()
    refused(ssn("export", source, "--format", "csv", "--out", tmp_path / "folder.csv"), "is a folder")
    work = tmp_path / "work"
    work.mkdir()
    (work / "thesis.txt").write_text("mine")
    refused(ssn("export", source, "--format", "peft", "--out", work), "no adapter")
    assert (work / "thesis.txt").read_text() == "mine"


def members(path: Path) -> dict[str, list[int]]:
    return store.load_neurons(path).neurons.by_key()


def test_select_ms_by_hand(tmp_path, pair):
    out = tmp_path / "ms.json"
    value = object_of(ssn("select", *pair, "--p", 10, "--out", out, "--json"))
    assert members(out) == {key: [4] for key in GEOMETRY.widths}
    assert (value["neurons"], value["what"], value["sites"]) == (4, "ms", ["q_proj", "o_proj"])


def test_select_ss_private_and_random(tmp_path, pair):
    hr = (
        "--hr-harmful",
        scored(tmp_path / "hh.safetensors", 4, "harmful", "en"),
        "--hr-harmless",
        scored(tmp_path / "hn.safetensors", 9, "harmless", "en"),
    )
    out = tmp_path / "out.json"
    ssn("select", *pair, *hr, "--p", 10, "--what", "ss", "--out", out)
    assert members(out) == {key: [4] for key in GEOMETRY.widths}  # MS_HR is 4 and 5
    before = out.read_bytes()
    refused(ssn("select", *pair, *hr, "--p", 10, "--what", "private", "--out", out), "private", "larger --p")
    assert out.read_bytes() == before
    draws = []
    for seed in (0, 0, 1):
        made = object_of(
            ssn("select", *pair, *hr, "--p", 10, "--what", "random", "--seed", seed, "--out", out, "--json")
        )
        assert (made["control_of"], made["seed"]) == ("ss", seed)
        draws.append(members(out))
    assert draws[0] == draws[1] != draws[2]
    assert all(len(v) == 1 and v != [4] for v in draws[0].values()) and set(draws[0]) == set(GEOMETRY.widths)
    made = object_of(ssn("select", *pair, "--p", 10, "--what", "random", "--out", out, "--json"))
    assert made["control_of"] == "ms"


def test_select_over_all_layers_at_once(tmp_path, pair):
    """The tops tie across layers, so the earlier layer takes the places that p = 5 % of all neurons gives."""
    out = tmp_path / "ms.json"
    made = object_of(ssn("select", *pair, "--p", 5, "--scope", "global", "--out", out, "--json"))
    assert members(out) == {key: [4] for key in GEOMETRY.widths} and made["scope"] == "global"
    low = np.full(20, 0.5, np.float32)
    _, harmful, _, harmless = pair
    for path in (harmful, harmless):
        file = store.load_scores(path)
        kept = {key: values if key.startswith("layers.1.") else low for key, values in file.scores.items()}
        store.save_scores(path, store.ScoreFile(kept, file.model, file.provenance))
    object_of(ssn("select", *pair, "--p", 5, "--scope", "global", "--out", out, "--json"))
    assert members(out) == {"layers.1.q_proj": [4], "layers.1.o_proj": [4]}
    assert ssn("select", *pair, "--scope", "global", "--p", 0, "--out", tmp_path / "x.json").exit_code == 2
    assert ssn("select", *pair, "--scope", "model", "--out", tmp_path / "x.json").exit_code == 2


def test_a_control_with_too_few_neurons_to_draw_from(tmp_path, pair):
    _, harmful, _, harmless = pair
    file = store.load_scores(harmless)
    flipped = {key: -values for key, values in store.load_scores(harmful).scores.items()}
    flipped["layers.0.o_proj"] += 100  # all of it on top, and none of layers.0.q_proj
    store.save_scores(harmless, store.ScoreFile(flipped, file.model, file.provenance))
    high = dict(store.load_scores(harmful).scores)
    high["layers.0.q_proj"] = high["layers.0.q_proj"] + 100
    store.save_scores(harmful, store.ScoreFile(high, file.model, store.load_scores(harmful).provenance))
    out = tmp_path / "random.json"
    refused(ssn("select", *pair, "--p", 50, "--what", "random", "--out", out), "layers.0.q_proj", "fewer than the 20")
    assert not out.exists()


def test_combine(tmp_path):
    """The laws are tested on the sets; here: which option asks for which k, and what the file says of itself."""
    of = [saved(tmp_path / f"{n}.json", {"layers.0.q_proj": [1, n], "layers.1.o_proj": [9]}) for n in (2, 3, 3)]
    of[2] = saved(tmp_path / "third.safetensors", {"layers.0.q_proj": [3]})
    out = tmp_path / "out.json"
    for options, expected, k in (
        (("--union",), {"layers.0.q_proj": [1, 2, 3], "layers.1.o_proj": [9]}, 1),
        (("--at-least", 2), {"layers.0.q_proj": [1, 3], "layers.1.o_proj": [9]}, 2),
    ):
        made = object_of(ssn("combine", *options, *of, "--out", out, "--json"))
        assert members(out) == expected and (made["at_least"], made["neurons"]) == (k, sum(map(len, expected.values())))
    assert store.load_neurons(out).provenance["of"] == [path.as_posix() for path in of]
    assert ssn("combine", "--intersection", *of[:2], "--out", out).exit_code == 0
    assert members(out) == {"layers.0.q_proj": [1], "layers.1.o_proj": [9]}


def test_combine_refuses(tmp_path):
    out = tmp_path / "out.json"
    a, b = (saved(tmp_path / f"{n}.json", {"layers.0.q_proj": [n]}) for n in (1, 2))
    other = saved(tmp_path / "other.json", {"layers.0.q_proj": [1]}, OTHER)
    refused(ssn("combine", "--union", a, other, "--out", out), "other.json", "another model")
    refused(ssn("combine", a, b, "--out", out), "--union")
    refused(ssn("combine", "--union", "--at-least", 1, a, b, "--out", out), "one of")
    refused(ssn("combine", "--at-least", 3, a, b, "--out", out), "k goes from 1 to 2")
    refused(ssn("combine", "--at-least", 0, a, b, "--out", out), "k goes from 1 to 2")
    refused(ssn("combine", "--intersection", a, b, "--out", out), "No neuron is in 2 of the 2 sets")
    refused(ssn("combine", "--union", a, tmp_path / "no.json", "--out", out), "No file")
    assert not out.exists()


def test_select_refuses_what_does_not_belong_together(tmp_path, pair):
    out = tmp_path / "out.json"
    _, harmful, _, harmless = pair
    other = scored(tmp_path / "o.safetensors", 5, "harmless", model=OTHER)
    english = scored(tmp_path / "e.safetensors", 5, "harmless", "en")
    refused(ssn("select", "--harmful", harmful, "--harmless", other, "--out", out), "another model")
    refused(ssn("select", "--harmful", harmful, "--harmless", english, "--out", out), "two languages")
    refused(ssn("select", "--harmful", harmless, "--harmless", harmful, "--out", out), "harmful ones are needed")
    refused(ssn("select", *pair, "--what", "ss", "--out", out), "--hr-harmful")
    refused(ssn("select", *pair, "--hr-harmful", harmful, "--out", out), "--hr-harmless")
    refused(ssn("select", *pair, "--p", 0, "--out", out), "percentage")
    refused(ssn("select", *pair, "--sites", "q_prj", "--out", out), "q_proj")
    refused(ssn("select", *pair, "--sites", "mlp", "--out", out), "mlp")
    refused(ssn("select", *pair, "--p", 10, "--out", tmp_path / "out.txt"), ".json")
    refused(ssn("select", "--harmful", harmful, "--harmless", harmful.with_name("no"), "--out", out), "No file")
    assert not out.exists() and not (tmp_path / "out.txt").exists()


def test_files_that_are_missing_damaged_or_out_of_range(tmp_path):
    refused(ssn("show", tmp_path / "no.json"), "No file")
    good = saved(tmp_path / "s.safetensors", {"layers.0.q_proj": [1, 2]})
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(good.read_bytes()[:-3])
    refused(ssn("show", cut), "damaged")
    scores = scored(tmp_path / "h.safetensors", 0, "harmful")
    data = bytearray(scores.read_bytes())
    data[-4:] = np.float32("nan").tobytes()
    scores.write_bytes(data)
    refused(ssn("show", scores), "NaN")
    high = tmp_path / "high.json"
    value = json.loads(saved(high, {"layers.0.q_proj": [1]}).read_text())
    value["neurons"]["layers.0.q_proj"] = [20]
    high.write_text(json.dumps(value))
    refused(ssn("show", high), "Neuron 20", "does not exist")
    refused(ssn("export", high, "--format", "csv", "--out", tmp_path / "x.csv"), "Neuron 20")
    high.write_text("{")
    refused(ssn("diff", high, high), "not valid JSON")
    assert not (tmp_path / "x.csv").exists()


def gold(path: Path) -> Path:
    rows = [("I'm sorry, but I can't help with that.", 1), ("Sure! Mix flour and water, then bake.", 0)]
    text = [json.dumps({"lang": "en", "prompt": "p", "response": r, "refusal": y, "model": "m"}) for r, y in rows]
    path.write_text("\n".join(text))
    return path


def test_calibrate_keeps_its_contract(tmp_path):
    value = object_of(ssn("calibrate", "--judge", "refusal", "--gold", gold(tmp_path / "g.jsonl"), "--json"))
    assert {"judge", "n", "overall", "by_lang", "by_model"} <= set(value) and (value["judge"], value["n"]) == (
        "refusal",
        2,
    )
    assert {"kappa", "f1", "precision", "recall", "unscored"} <= set(value["overall"])
    assert value["overall"]["kappa"] == 1.0 and set(value["by_lang"]) == {"en"} and set(value["by_model"]) == {"m"}
    shown = ssn("calibrate", "--gold", tmp_path / "g.jsonl")
    assert shown.exit_code == 0 and "overall" in shown.stdout and "1.000" in shown.stdout


def test_calibrate_refuses(tmp_path):
    path = gold(tmp_path / "g.jsonl")
    refused(ssn("calibrate", "--gold", tmp_path / "no.jsonl"), "no gold file")
    refused(ssn("calibrate", "--judge", "refusl", "--gold", path), "Did you mean refusal")
    path.write_text(path.read_text().replace('"en"', '"xx"'))
    refused(ssn("calibrate", "--gold", path), "language")


def test_report_without_results(tmp_path):
    refused(ssn("report", tmp_path / "results", "--out", tmp_path / "report"))
    assert not (tmp_path / "report").exists()


def test_a_model_in_a_package_is_named_with_a_prefix():

    from ssn_eval.models.loading import ModelSpec

    assert ModelSpec.parse("package:some_model", None, "m.gguf") == ModelSpec(package="some_model", gguf_file="m.gguf")
    assert ModelSpec.parse("org/model", "v1", None, "float32") == ModelSpec("org/model", "v1", dtype="float32")
