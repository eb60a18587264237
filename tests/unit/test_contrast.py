"""Statistics of single prompts, and selection by them: Welch's t and the rates against scipy, planted neurons, files old and new."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from ssn_eval.core import moments, origin, store
from ssn_eval.core.errors import EmptySetError, FormatError, MismatchError, ParamsError
from ssn_eval.core.moments import Moments, Statistics
from ssn_eval.core.neurons import Geometry, NeuronSet
from ssn_eval.core.rules import CONTRASTS, RULES
from ssn_eval.core.settings import SelectParams
from ssn_eval.identification import contrast, rules, selection, single, targets
from ssn_eval.identification.accumulate import Sums

WIDTHS = {"layers.0.q_proj": 40, "layers.0.mlp": 200, "layers.1.q_proj": 40, "layers.1.mlp": 200}
MODEL = origin.ModelRef("tiny", "a" * 64, "llama", Geometry(WIDTHS))
PLANTED = NeuronSet.from_keys({"layers.0.mlp": [3, 70], "layers.1.q_proj": [11], "layers.1.mlp": [150]})
ALWAYS = NeuronSet.from_keys({"layers.0.mlp": [9], "layers.1.q_proj": [2]})
PROMPTS = 40


def drawn(seed: int, raised: NeuronSet | None = None, prompts: int = PROMPTS) -> dict[str, np.ndarray]:
    """Importance per prompt: the prompts differ in scale, `ALWAYS` is high in all of them, and `raised` is higher."""
    generator = np.random.default_rng(seed)
    scale = np.exp(generator.normal(0, 2, (prompts, 1)))
    values = {key: scale * np.exp(generator.normal(0, 0.5, (prompts, w))) for key, w in WIDTHS.items()}
    for neurons, factor in ((ALWAYS, 40.0), (raised, 2.5)):
        for key, indices in (neurons.by_key() if neurons else {}).items():
            values[key][:, indices] *= factor
    return {key: value.astype(np.float32) for key, value in values.items()}


def summed(values: dict[str, np.ndarray], batch: int = 7) -> Sums:
    sums = Sums.empty(WIDTHS)
    for start in range(0, len(values["layers.0.mlp"]), batch):
        part = {key: value[start : start + batch] for key, value in values.items()}
        sums.add(list(range(start, start + len(part["layers.0.mlp"]))), part)
    return sums


def scored(seed: int, label: str, lang: str = "th", prompts: int = PROMPTS) -> store.ScoreFile:
    sums = summed(drawn(seed, PLANTED if label == "harmful" else None, prompts))
    return store.ScoreFile(sums.mean(), MODEL, {"label": label, "lang": lang}, sums.statistics())


def pair(seed: int, lang: str) -> single.LanguageScores:
    return single.LanguageScores(scored(seed, "harmful", lang), scored(seed + 1, "harmless", lang))


@pytest.fixture(scope="module")
def files() -> dict[str, single.LanguageScores]:
    return {lang: pair(10 * i, lang) for i, lang in enumerate(("en", "th", "zh"))}


def logs(values: np.ndarray) -> np.ndarray:
    """The definition, in float64."""
    return np.log(values.astype(float)) - np.log(values.astype(float)).mean(1, keepdims=True)


def test_relative_logs_ignore_the_scale_of_a_prompt_and_survive_zeros():
    values = drawn(0)["layers.0.mlp"]
    np.testing.assert_allclose(moments.relative_logs(values), logs(values), atol=1e-4)
    scaled = values * np.logspace(-12, 12, len(values))[:, None].astype(np.float32)
    np.testing.assert_allclose(moments.relative_logs(scaled), moments.relative_logs(values), atol=1e-3)
    holes = np.array([[0, 1, 1, 2], [0, 0, 0, 0]], np.float32)
    found = moments.relative_logs(holes)
    assert np.isfinite(found).all() and found[0, 0] < -9 and not found[1].any()


def test_the_sums_of_batches_are_the_moments_of_the_prompts_by_half():
    values = drawn(1)
    statistics = summed(values).statistics()
    assert statistics is not None and statistics.prompts.tolist() == [PROMPTS // 2] * 2
    for half, rows in ((None, slice(None)), (0, slice(0, None, 2)), (1, slice(1, None, 2))):
        part = statistics.moments(half)
        for key in WIDTHS:
            expected = logs(values[key][rows])
            assert part.count == len(expected)
            np.testing.assert_allclose(part.mean(key), expected.mean(0), atol=1e-4)
            np.testing.assert_allclose(part.variance(key), expected.var(0, ddof=1), rtol=1e-3, atol=1e-4)
            if half is not None:
                np.testing.assert_allclose(statistics.half(half)[key], values[key][rows].mean(0), rtol=1e-5)
    assert summed(drawn(1, prompts=1)).statistics() is None


def test_welch_is_scipys():
    jail, norm = drawn(2, PLANTED), drawn(3, prompts=25)
    found = contrast.welch(*(summed(v).statistics().moments() for v in (jail, norm)))  # type: ignore[union-attr]
    ends = found.interval(0.9)
    for key in WIDTHS:
        expected: Any = stats.ttest_ind(logs(jail[key]), logs(norm[key]), equal_var=False)
        np.testing.assert_allclose(found.t[key], expected.statistic, rtol=1e-3, atol=2e-3)
        np.testing.assert_allclose(found.freedom[key], expected.df, rtol=1e-3)
        interval = expected.confidence_interval(0.9)
        np.testing.assert_allclose(ends[key], np.stack([interval.low, interval.high]), atol=2e-3)


def test_a_neuron_that_never_varies_has_no_contrast():
    flat = Moments(4, {"layers.0.mlp": np.array([4.0])}, {"layers.0.mlp": np.array([4.0])})
    found = contrast.welch(flat, flat)
    assert found.t["layers.0.mlp"] == 0 and found.freedom["layers.0.mlp"] == 3


def test_shared_evidence_is_the_smaller_of_hr_and_the_mean_of_the_others(files):
    one, two, three = (rules.evidence_of("en", files).contrasts[lang] for lang in ("en", "th", "zh"))
    found = contrast.shared(one, [two, three])
    for key in WIDTHS:
        expected = np.minimum(one.t[key], (two.t[key] + three.t[key]) / 2)
        np.testing.assert_array_equal(found.t[key], expected)
        assert (found.freedom[key] <= one.freedom[key]).all() and (found.freedom[key] <= three.freedom[key]).all()
    with pytest.raises(EmptySetError, match="second language"):
        contrast.shared(one, [])
    with pytest.raises(MismatchError):
        contrast.shared(one, [replace(two, t={"layers.0.mlp": np.zeros(200)})])


def test_the_planted_neurons_are_found_by_count_and_by_rate(files):
    evidence = rules.evidence_of("en", files)
    shared = contrast.shared(evidence.contrasts["en"], [evidence.contrasts["th"], evidence.contrasts["zh"]])
    assert contrast.largest(shared, len(PLANTED)) == PLANTED
    assert len(contrast.largest(shared, 7, ("mlp",))) == 7 and not contrast.largest(shared, 0)
    assert contrast.discoveries(shared, 0.05) == PLANTED
    assert contrast.discoveries(shared, 0.05, ("q_proj",)) == NeuronSet.from_keys({"layers.1.q_proj": [11]})


def test_the_false_discovery_rate_holds_where_nothing_is_planted():
    """200 draws without a difference: the rate of draws with any discovery is at most that asked for."""
    any_found = 0
    for seed in range(200):
        generator = np.random.default_rng(seed)
        values = [{"layers.0.mlp": np.exp(generator.normal(size=(20, 100))).astype(np.float32)} for _ in range(2)]
        sums = [Sums.empty({"layers.0.mlp": 100}) for _ in values]
        for one, value in zip(sums, values, strict=True):
            one.add(range(20), value)
        found = contrast.welch(*(one.statistics().moments() for one in sums))  # type: ignore[union-attr]
        any_found += bool(contrast.discoveries(found, 0.2))
    assert 0 < any_found <= 0.2 * 200 + 3 * (0.2 * 0.8 * 200) ** 0.5


def test_common_neurons_are_on_top_for_every_label_and_language(files):
    sets = [file.statistics.moments() for one in files.values() for file in one]
    assert contrast.common(sets, 1) == ALWAYS
    assert contrast.common(sets, 1, ("mlp",)) == NeuronSet.from_keys({"layers.0.mlp": [9]})
    with pytest.raises(EmptySetError):
        contrast.common([], 1)


def test_every_rule_has_a_line_and_gives_sets_of_its_kind(files):
    evidence = rules.evidence_of("en", files)
    plain = evidence.families(SelectParams(p=5))
    assert plain.ms == rules.paper(evidence.scores, "en", 5).ms
    for name, rule in RULES.items():
        assert rule.when.endswith(".") and len(rule.when) < 140
        families = evidence.families(SelectParams(p=5, rule=name))
        assert set(families.named()) == {"ms_hr", "ss", "private"} and families.nhr == ("th", "zh")
        if rule.contrast:
            assert PLANTED.members <= families.named()["ss"].members
            assert families.private["th"] == families.ms["th"] - families.ms["en"]
    by_count = evidence.families(SelectParams(p=5, rule="contrast"))
    assert [len(by_count.ms[lang]) for lang in files] == [len(plain.ms[lang]) for lang in files]
    assert len(by_count.named()["ss"]) == len(plain.named()["ss"]) > len(PLANTED)
    assert by_count.ss["th"] == evidence.families(SelectParams(p=5, rule="contrast")).shared(["th"])


def test_the_filter_leaves_out_common_neurons_by_every_rule(files):
    strong = {lang: single.LanguageScores(one.jail, _cut(one.norm)) for lang, one in files.items()}
    evidence = rules.evidence_of("en", strong)
    assert ALWAYS.members <= evidence.families(SelectParams(p=5)).ms["th"].members
    for name in RULES:
        families = evidence.families(SelectParams(p=5, rule=name, without_common=True))
        for neurons in [*families.ms.values(), *families.named().values()]:
            assert not neurons & ALWAYS


def _cut(file: store.ScoreFile) -> store.ScoreFile:
    """The same statistics, but no importance on the common neurons, so that the paper's rule takes them for safety neurons."""
    scores = {key: values.copy() for key, values in file.scores.items()}
    for key, indices in ALWAYS.by_key().items():
        scores[key][indices] = 0
    return replace(file, scores=scores)


def test_a_score_file_keeps_its_statistics_and_old_files_load(tmp_path: Path):
    file = scored(5, "harmful")
    store.save_scores(tmp_path / "new.safetensors", file)
    store.save_scores(tmp_path / "old.safetensors", replace(file, statistics=None))
    new, old = (store.load_scores(tmp_path / f"{name}.safetensors") for name in ("new", "old"))
    assert old.statistics is None and list(new.scores) == list(old.scores)
    assert new.statistics is not None and file.statistics is not None
    for name in ("halves", "log_sums", "log_squares"):
        for key, values in getattr(file.statistics, name).items():
            np.testing.assert_array_equal(getattr(new.statistics, name)[key], values)
    assert b"ssn-scores/2" in (tmp_path / "new.safetensors").read_bytes()
    assert b"ssn-scores/1" in (tmp_path / "old.safetensors").read_bytes()
    assert store.holds_scores(tmp_path / "new.safetensors") and store.holds_scores(tmp_path / "old.safetensors")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda t: t.pop("log_sum/layers.0.mlp"), "log_sum statistics cover other sites"),
        (lambda t: t.update({"half/layers.0.mlp": np.zeros((2, 3), np.float32)}), "half/layers.0.mlp is float32"),
        (lambda t: t["log_square/layers.0.mlp"].fill(np.nan), "NaN"),
        (lambda t: t.update(prompts=np.array([3, 0])), "two int64 counts from 1"),
    ],
)
def test_damaged_statistics_are_one_sentence(tmp_path: Path, monkeypatch, spoil, said):
    spoilt = scored(5, "harmful").statistics.tensors()  # type: ignore[union-attr]
    spoil(spoilt)
    monkeypatch.setattr(Statistics, "tensors", lambda _self: spoilt)
    store.save_scores(tmp_path / "s.safetensors", scored(5, "harmful"))
    with pytest.raises(FormatError, match=said):
        store.load_scores(tmp_path / "s.safetensors")


def test_one_set_says_its_rule_its_stability_and_every_interval(files, tmp_path: Path):
    settings = SelectParams(p=5, rule="contrast")
    file = single.select_one("ss", files["th"], files["en"], settings)
    assert PLANTED.members <= file.neurons.members
    assert file.provenance["rule"] == "contrast" and file.provenance["hr"] == "en"
    stable = file.provenance["stability"]
    assert 0 <= stable["chance"] < stable["jaccard"] <= 1 and len(stable["sizes"]) == 2
    assert set(file.contrast) == {"th", "en"}
    ends = contrast.welch(*(f.statistics.moments() for f in files["th"])).interval()  # type: ignore[union-attr]
    for key, indices in file.neurons.by_key().items():
        np.testing.assert_allclose(file.contrast["th"][key]["low"], ends[key][0][indices], atol=6e-4)
    store.save_neurons(tmp_path / "ss.json", file)
    assert store.load_neurons(tmp_path / "ss.json") == file
    damaged = (tmp_path / "ss.json").read_text().replace('"low"', '"lo"')
    (tmp_path / "ss.json").write_text(damaged)
    with pytest.raises(FormatError, match="`contrast` must map"):
        store.load_neurons(tmp_path / "ss.json")


def test_the_papers_sets_do_not_depend_on_statistics(files):
    """Old score files give the sets, and the provenance, that they always gave."""
    old = {lang: single.LanguageScores(*(replace(f, statistics=None) for f in one)) for lang, one in files.items()}
    for what in ("ms", "ss", "private", "random"):
        with_them = single.select_one(what, files["th"], files["en"], SelectParams(p=5))
        without = single.select_one(what, old["th"], old["en"], SelectParams(p=5))
        assert with_them.neurons == without.neurons and not without.contrast
        assert {k: v for k, v in with_them.provenance.items() if k != "stability"} == without.provenance
    ms = selection.ms(files["th"].jail.scores, files["th"].norm.scores, 5)
    assert single.select_one("ms", old["th"], None, SelectParams(p=5)).neurons == ms


@pytest.mark.parametrize("settings", [SelectParams(rule="contrast"), SelectParams(without_common=True)])
def test_rules_that_need_statistics_say_so(files, settings):
    old = single.LanguageScores(files["th"].jail, replace(files["th"].norm, statistics=None))
    with pytest.raises(ParamsError, match="needs the statistics of two prompts or more"):
        single.select_one("ms", old, None, settings)


def test_no_discovery_says_what_to_do(files):
    same = single.LanguageScores(scored(3, "harmless"), scored(4, "harmless"))
    with pytest.raises(EmptySetError, match="within the false discovery rate"):
        single.select_one("ms", same, None, SelectParams(rule="contrast_fdr", rate=1e-6))


def test_presets_start_from_the_rules(files):
    from pydantic import TypeAdapter

    from ssn_eval.core.presets import Preset, check

    evidence, settings = rules.evidence_of("en", files), SelectParams(p=5)
    families = evidence.families(settings)

    def preset(**keys: object) -> Preset:
        return TypeAdapter(Preset).validate_python(keys)

    extras = targets.extras_of(settings, evidence)
    for name in CONTRASTS:
        expected = evidence.families(replace(settings, rule=name))
        made = targets.target("mine", preset(**{"from": name}), families, 2, extras)
        assert made == expected.named()["ss"]
        made = targets.target("mine", preset(**{"from": name, "languages": "zh"}), families, 2, extras)
        assert made == expected.ss["zh"]
    late = targets.target("mine", preset(**{"from": "contrast", "layers": [0.5, 1]}), families, 2, extras)
    assert {n.layer for n in late} == {1}
    with pytest.raises(ParamsError, match="k count sets by language"):
        check("mine", preset(**{"from": "contrast", "k": 2}), ("th", "zh"))
    with pytest.raises(EmptySetError, match=r"targets.mine cannot be made\. .*score again"):
        targets.target("mine", preset(**{"from": "contrast"}), families, 2)


def test_the_commands_select_by_rule_and_show_stability_and_contrast(files, tmp_path: Path):
    from click.testing import CliRunner

    from ssn_eval.cli import main

    options: list[str] = []
    for lang, flag in (("th", "--"), ("en", "--hr-")):
        for file, label in zip(files[lang], ("harmful", "harmless"), strict=True):
            store.save_scores(tmp_path / f"{lang}.{label}.safetensors", file)
            options += [f"{flag}{label}", str(tmp_path / f"{lang}.{label}.safetensors")]
    out = str(tmp_path / "set.json")
    done = CliRunner().invoke(main, ["select", *options, "--what", "ss", "--rule", "contrast_fdr", "--out", out])
    assert done.exit_code == 0, done.output
    assert store.load_neurons(Path(out)).neurons == PLANTED
    shown = CliRunner().invoke(main, ["show", out])
    assert "Two halves of the prompts give sets with a Jaccard index of" in shown.stdout
    assert "Contrast in th: median +0." in shown.stdout and "100% of the 95 % intervals lie above 0" in shown.stdout
    refused = CliRunner().invoke(main, ["select", *options, "--rule", "contrats", "--out", out])
    assert refused.exit_code == 2 and "Did you mean contrast" in refused.stderr
