"""`ssn bake`, `merge`, `reference`, deltas and one-rank adapters: files that stock tools load, equal to what runs here."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file
from test_cli_model import WORDS, save_model

from ssn_eval.cli import main
from ssn_eval.core import store
from ssn_eval.core.neurons import NeuronSet
from ssn_eval.core.store import NeuronFile
from ssn_eval.exchange import publishing
from ssn_eval.interventions import reference as references
from ssn_eval.interventions.hooks import intervene, intervene_all
from ssn_eval.interventions.ops import MEAN, SUPPRESS, Intervention, Op
from ssn_eval.models import deltas, lineage, loading
from ssn_eval.models.loading import ModelSpec
from ssn_eval.training.adapters.folder import load_adapter, save_adapter
from ssn_eval.training.adapters.neuron_lora import build

FIRST = NeuronSet.of([(0, "q_proj", 31), (0, "mlp", 3), (0, "mlp", 39), (1, "k_proj", 5), (1, "v_proj", 0)])
SECOND = NeuronSet.of([(0, "mlp", 4), (1, "o_proj", 2)])
IDS = torch.tensor([[3, 4, 5, 6]])


def ssn(*words: object) -> dict:
    done = CliRunner().invoke(main, [str(w) for w in (*words, "--json")])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def refused(out: Path | None, *words: object) -> str:
    """The one sentence; nothing was written."""
    done = CliRunner().invoke(main, [str(w) for w in words])
    assert done.exit_code == 2 and "Traceback" not in done.output, done.output
    assert out is None or not out.exists()
    return done.stderr


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Two models, sets of the first, prompts, and an adapter of the first with something in it."""
    made = tmp_path_factory.mktemp("weights")
    for name, seed in (("m", 0), ("other", 1)):
        save_model(made / name, seed)
    loaded = loading.load(ModelSpec(str(made / "m")), device="cpu")
    for name, chosen in (("first", FIRST), ("second", SECOND), ("none", NeuronSet(frozenset()))):
        store.save_neurons(made / f"{name}.json", NeuronFile(chosen, loaded.ref, {"what": name}))
    rows = [{"id": str(i), "lang": "en", "label": "harmless", "prompt": " ".join(WORDS[i : i + 4])} for i in range(5)]
    (made / "prompts.jsonl").write_text("\n".join(map(json.dumps, rows)))
    tuned = build(loaded.model, FIRST)
    with torch.no_grad():
        for name, p in tuned.named_parameters():
            if p.requires_grad:
                p.normal_(std=0.1, generator=torch.Generator().manual_seed(len(name)))
    save_adapter(tuned, made / "adapter", loaded.ref, {"what": "made up"})
    return made


def stock(path: Path) -> torch.Tensor:
    """Logits of plain transformers."""
    from transformers import AutoModelForCausalLM

    with torch.no_grad():
        return AutoModelForCausalLM.from_pretrained(path).eval()(IDS).logits


def ours(path: Path) -> loading.Loaded:
    return loading.load(ModelSpec(str(path)), device="cpu")


def with_adapter(folder: Path) -> torch.Tensor:
    loaded = ours(folder / "m")
    with torch.no_grad():
        return load_adapter(loaded.model, folder / "adapter", loaded.ref)(IDS).logits


def test_bake_writes_several_sets_into_a_model_that_any_tool_loads(folder, tmp_path):
    words = ("bake", folder / "m", "--neurons", folder / "first.json", "--neurons", folder / "second.json")
    said = ssn(*words, "--op", "suppress", "--op", "scale:2", "--out", tmp_path / "baked")
    assert [each["op"] for each in said["interventions"]] == ["suppress", "scale:2"]
    loaded = ours(folder / "m")
    with torch.no_grad(), intervene_all(loaded.model, [Intervention(FIRST, SUPPRESS), Intervention(SECOND, Op(2.0))]):
        expected = loaded.model(IDS).logits
    torch.testing.assert_close(stock(tmp_path / "baked"), expected, atol=1e-5, rtol=1e-5)
    assert lineage.bases(tmp_path / "baked") == [loaded.ref]
    ssn(*words, "--layers", "0", "--out", tmp_path / "baked")  # what was baked may be baked again, here in one layer
    assert not torch.allclose(stock(tmp_path / "baked"), expected, atol=1e-3)


def test_what_cannot_be_baked_is_said_before_anything_is_written(folder, tmp_path):
    out, neurons = tmp_path / "no", ("--neurons", folder / "first.json")
    assert "another model" in refused(out, "bake", folder / "other", *neurons, "--out", out)
    assert "empty" in refused(out, "bake", folder / "m", "--neurons", folder / "none.json", "--out", out)
    assert "finite" in refused(out, "bake", folder / "m", *neurons, "--op", "scale:nan", "--out", out)
    assert "reference" in refused(out, "bake", folder / "m", *neurons, "--op", "mean", "--out", out)
    twice = (*neurons, *neurons, "--op", "suppress", "--op", "scale:2")
    assert "set 2 with scale:2" in refused(out, "bake", folder / "m", *twice, "--out", out)
    ssn(*measure(folder, tmp_path / "ref.safetensors"))
    constant = (*neurons, "--op", "mean", "--reference", tmp_path / "ref.safetensors")
    assert "no bias that could hold a constant" in refused(out, "bake", folder / "m", *constant, "--out", out)
    before = (folder / "m" / "model.safetensors").read_bytes()
    assert "name a new folder" in refused(None, "bake", folder / "m", *neurons, "--out", folder / "m")
    assert (folder / "m" / "model.safetensors").read_bytes() == before


def measure(folder: Path, out: Path, *more: object) -> tuple[object, ...]:
    words = ("reference", "--model", folder / "m", "--prompts", folder / "prompts.jsonl", "--lang", "en")
    return (*words, "--device", "cpu", "--out", out, *more)


def test_a_reference_is_measured_and_used_by_mean_ablation(folder, tmp_path):
    out = tmp_path / "ref.safetensors"
    said = ssn(*measure(folder, out, "--neurons", folder / "first.json"))
    assert (said["neurons"], said["prompts"], said["label"]) == (len(FIRST), 5, "harmless")
    loaded, found = ours(folder / "m"), references.load(out)
    assert found.model == loaded.ref
    with torch.no_grad(), intervene(loaded.model, FIRST, MEAN, reference=found):
        changed = loaded.model(IDS).logits
    assert not torch.allclose(changed, loaded.model(IDS).logits, atol=1e-4)
    first = out.read_bytes()
    ssn(*measure(folder, out, "--neurons", folder / "first.json"))
    assert out.read_bytes() == first, "same inputs, same bytes"
    gone = tmp_path / "x.safetensors"
    assert "another model" in refused(
        gone, "reference", "--model", folder / "other", *measure(folder, gone)[3:], "--neurons", folder / "first.json"
    )
    assert "another ending" in refused(tmp_path / "x.json", *measure(folder, tmp_path / "x.json"))


def test_merge_equals_the_adapter_and_changes_only_its_rows_and_columns(folder, tmp_path):
    out = tmp_path / "merged"
    ssn("merge", folder / "adapter", "--model", folder / "m", "--out", out)
    card = (out / "README.md").read_text(encoding="utf-8")
    assert card == publishing.card_of(out) and "A whole model" in card and str(tmp_path) not in card
    torch.testing.assert_close(stock(out), with_adapter(folder), atol=1e-5, rtol=1e-5)
    before, after = (load_file(p / "model.safetensors") for p in (folder / "m", out))
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed and all("proj" in name for name in changed)
    rows = (before["model.layers.0.mlp.up_proj.weight"] != after["model.layers.0.mlp.up_proj.weight"]).any(1)
    assert rows.nonzero().flatten().tolist() == [3, 39]
    assert lineage.provenance(out)["what"] == "made up"
    gone = tmp_path / "no"
    assert "same shape, another model" in refused(
        gone, "merge", folder / "adapter", "--model", folder / "other", "--out", gone
    )
    assert "adapter_config.json" in refused(gone, "merge", folder / "m", "--model", folder / "m", "--out", gone)


def test_a_set_of_the_base_belongs_to_what_was_made_from_it(folder, tmp_path):
    """Suppressing after merging: neurons keep their place."""
    merged, out = tmp_path / "merged", tmp_path / "both"
    ssn("merge", folder / "adapter", "--model", folder / "m", "--out", merged)
    ssn("bake", merged, "--neurons", folder / "first.json", "--out", out)
    assert [ref.id for ref in lineage.bases(out)] == [str(merged), str(folder / "m")] or len(lineage.bases(out)) == 2


@pytest.mark.parametrize("source", ["adapter", "merged"])
def test_a_delta_gives_the_checkpoint_back_bit_for_bit(folder, tmp_path, source):
    merged, out = tmp_path / "merged", tmp_path / "d.safetensors"
    ssn("merge", folder / "adapter", "--model", folder / "m", "--out", merged)
    made_from = folder / "adapter" if source == "adapter" else merged
    said = ssn("export", made_from, "--format", "delta", "--model", folder / "m", "--out", out)
    loaded, whole = ours(folder / "m"), (merged / "model.safetensors").stat().st_size
    assert said["weights"] > 0 and out.stat().st_size < whole / 2
    deltas.apply(loaded.model, deltas.load(out))
    tuned = ours(merged).model.state_dict()
    assert all(torch.equal(weight, tuned[name]) for name, weight in loaded.model.state_dict().items())
    gone = tmp_path / "no.safetensors"
    assert "equal" in refused(gone, "export", folder / "m", "--format", "delta", "--model", folder / "m", "--out", gone)
    assert "another ending" in refused(
        tmp_path / "no.json", "export", merged, "--format", "delta", "--out", tmp_path / "no.json"
    )


def test_one_rank_for_servers_is_the_same_function(folder, tmp_path):
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    out = tmp_path / "uniform"
    said = ssn("export", folder / "adapter", "--format", "peft", "--uniform-rank", "--out", out)
    config = json.loads((out / "adapter_config.json").read_text())
    assert config["r"] == config["lora_alpha"] == said["rank"] == 8 and not config["rank_pattern"]
    shapes = {t.shape[0] for name, t in load_file(out / "adapter_model.safetensors").items() if "lora_A" in name}
    assert shapes == {8}
    served = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(folder / "m"), str(out)).eval()
    with torch.no_grad():
        torch.testing.assert_close(served(IDS).logits, with_adapter(folder), atol=1e-6, rtol=1e-5)
    assert lineage.bases(out)[0] == ours(folder / "m").ref
    ssn("export", folder / "first.json", "--format", "peft", "--uniform-rank", "--model", folder / "m", "--out", out)
    assert json.loads((out / "adapter_config.json").read_text())["r"] == 8
    scaled = tmp_path / "scaled"
    shutil.copytree(folder / "adapter", scaled)
    config = json.loads((scaled / "adapter_config.json").read_text())
    (scaled / "adapter_config.json").write_text(json.dumps(config | {"use_rslora": True}))
    gone = tmp_path / "no"
    assert "no neuron-LoRA" in refused(gone, "export", scaled, "--format", "peft", "--uniform-rank", "--out", gone)
