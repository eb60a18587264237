"""Where documents come from: local copies in both forms, the caches, and every way a copy can be wrong."""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from pathlib import Path

import pytest
from small_copies import EMPTY, ROWS, multijail, prompt, write_all

from ssn_eval.core.errors import (
    EmptySetError,
    FormatError,
    MismatchError,
    MissingInputError,
    SsnError,
    UnknownNameError,
)
from ssn_eval.core.params import Params
from ssn_eval.core.settings import PromptParams
from ssn_eval.harness import datasets
from ssn_eval.prompts.benchmarks import copies, fetching
from ssn_eval.prompts.benchmarks.catalogue import SOURCES, source
from ssn_eval.prompts.benchmarks.loading import load
from ssn_eval.prompts.corpus import from_sources, prepare
from ssn_eval.prompts.prompt import Label, Prompt
from ssn_eval.prompts.reading import read_all_prompts, read_one_language, read_prompts

PAIRS: list[tuple[str, Label]] = [(s.name, label) for s in SOURCES.values() for label in s.labels]


@pytest.fixture
def local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Small copies of every benchmark, where `SSN_DATA_DIR` points; the current folder has none."""
    folder = tmp_path / "copies"
    folder.mkdir()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.setenv("SSN_DATA_DIR", str(folder))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return write_all(folder)


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder in which there is nothing yet."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SSN_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


def rows(*args: object, **options: object) -> list[dict[str, object]]:
    return [dict(row) for row in datasets.documents(*args, **options)["test"]]  # type: ignore[arg-type]


def write_jsonl(path: Path, *items: tuple[str, str, str], label: str = "harmful", split: str | None = None) -> None:
    lines = [{"id": i, "lang": lang, "label": label, "prompt": text} for i, lang, text in items]
    lines = [line | ({"split": split} if split else {}) for line in lines]
    with path.open("a", encoding="utf-8") as handle:
        handle.writelines(json.dumps(line) + "\n" for line in lines)


@pytest.mark.parametrize(("name", "label"), PAIRS)
def test_a_source_is_read_in_its_own_form_in_every_language(local: Path, name: str, label: Label) -> None:
    one = source(name)
    for lang in one.languages:
        found = load(one, lang, label)
        assert found and {(p.lang, p.label) for p in found} == {(lang, label)}
        assert len({p.id for p in found}) == len(found)
        spoken = "mixed" if name == "csrt" else lang
        assert all(p.prompt.startswith(f"{spoken} ") and not p.prompt.endswith("\n") for p in found)


@pytest.mark.parametrize(("name", "label"), PAIRS)
def test_a_source_is_read_from_jsonl_as_well(empty: Path, name: str, label: Label) -> None:
    lang = source(name).languages[-1]
    write_jsonl(empty / f"{name}.jsonl", ("x", lang, "one"), ("y", lang, "two"), label=label)
    found = load(source(name), lang, label)
    assert [p.prompt for p in found] == ["one", "two"]
    apart = source(name).alone(lang, label)
    assert [p.id for p in found] == ([f"x-{lang}", f"y-{lang}"] if apart else ["x", "y"])


def test_a_document_says_everything_that_results_are_split_by(local: Path) -> None:
    assert rows("multijail", "th", translation="human", pretrained="x", tier="MR")[0] == {
        "id": "multijail-0",
        "lang": "th",
        "label": "harmful",
        "prompt": prompt("th", 0),
        "tags": ["a", "b"],
        "translation": "human",
    }
    assert rows("aya_redteaming", "tl")[0]["tags"] == ["Profanity", "Hate Speech", "local"]
    assert rows("csrt", "en")[0]["tags"] == ["hate", "bias"]
    assert rows("xstest", "en", "harmful")[0]["tags"] == ["contrast_homonyms"]
    assert rows("polyrefuse", "yo", "harmful")[0]["tags"] == ["a"]
    assert rows("advbench_x", "ja")[0]["tags"] == []


def test_multiple_choice_and_empty_prompts_are_left_out_and_numbers_stay_parallel(local: Path) -> None:
    ids = [[p.id for p in load(source("xsafety"), lang, "harmful")] for lang in ("en", "es", "bn")]
    assert ids[0] == ids[1] == ids[2]
    assert len(ids[0]) == 5 and EMPTY not in ids[0] and "xsafety-Insult-2" in ids[0]
    assert rows("xsafety", "bn")[-1]["tags"] == ["Mental Health"]


def test_translations_share_ids_and_prompts_of_their_own_do_not(local: Path) -> None:
    def ids(name: str, lang: str, label: Label = "harmful") -> set[str]:
        return {p.id for p in load(source(name), lang, label)}

    for name in ("multijail", "advbench_x", "polyrefuse"):
        assert ids(name, "en") == ids(name, "th")
    assert ids("polyrefuse", "en", "harmless") == ids("polyrefuse", "th", "harmless")
    assert not ids("polyrefuse", "en", "harmless") & ids("polyrefuse", "zh", "harmless")
    assert not ids("aya_redteaming", "en") & ids("aya_redteaming", "fr")


def test_a_limit_spreads_over_the_file_and_takes_the_same_ids_everywhere(local: Path) -> None:
    chosen = [[row["id"] for row in rows("multijail", lang, limit=3)] for lang in ("en", "sw")]
    assert chosen[0] == chosen[1] == ["multijail-0", "multijail-2", "multijail-4"]
    assert len(rows("multijail", "en", limit=99)) == ROWS
    with pytest.raises(SsnError, match="limit is 0"):
        datasets.documents("multijail", "en", limit=0)


def test_train_prompts_are_never_evaluated_and_a_file_without_test_prompts_gives_its_val_prompts(empty: Path) -> None:
    path = empty / "polyrefuse.jsonl"
    write_jsonl(path, ("harmful-train-0", "th", "learnt"), split="train")
    with pytest.raises(EmptySetError, match="no harmful prompts in th"):
        load(source("polyrefuse"), "th", "harmful")
    write_jsonl(path, ("harmful-val-0", "th", "val"), split="val")
    assert [p.prompt for p in load(source("polyrefuse"), "th", "harmful")] == ["val"]
    write_jsonl(path, ("harmful-test-0", "th", "test"), split="test")
    assert [p.prompt for p in load(source("polyrefuse"), "th", "harmful")] == ["test"]


def test_ssn_data_dir_comes_before_the_pipelines_folder_and_the_sources_form_before_jsonl(local: Path) -> None:
    Path("data").mkdir()
    write_jsonl(Path("data/multijail.jsonl"), ("x", "th", "in data"))
    write_jsonl(local / "multijail.jsonl", ("x", "th", "in SSN_DATA_DIR"))
    assert load(source("multijail"), "th", "harmful")[0].prompt == prompt("th", 0)
    (local / "MultiJail.csv").unlink()
    assert load(source("multijail"), "th", "harmful")[0].prompt == "in SSN_DATA_DIR"
    (local / "multijail.jsonl").unlink()
    assert load(source("multijail"), "th", "harmful")[0].prompt == "in data"


def test_a_data_folder_that_is_none_is_refused(empty: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSN_DATA_DIR", str(empty / "gone"))
    with pytest.raises(MissingInputError, match="SSN_DATA_DIR is .* which is no folder"):
        copies.local_copy(source("multijail"))


@pytest.mark.parametrize(
    ("name", "lang", "label", "said"),
    [
        ("multijail", "tx", "harmful", "language of multijail 'tx'. Did you mean th"),
        ("xsafety", "sp", "harmful", "language of xsafety 'sp'. Did you mean es"),
        ("multijail", "th", "harmless", "label of multijail 'harmless'. Did you mean harmful"),
    ],
)
def test_an_unknown_language_or_label_names_near_ones(
    local: Path, name: str, lang: str, label: Label, said: str
) -> None:
    with pytest.raises(UnknownNameError, match=re.escape(said)):
        load(source(name), lang, label)


def test_a_language_that_a_local_file_lacks_is_refused_and_not_read_elsewhere(empty: Path) -> None:
    write_jsonl(empty / "multijail.jsonl", ("x", "th", "one"))
    with pytest.raises(UnknownNameError, match=r"multijail.jsonl \(harmful\) 'tk'. Did you mean th"):
        load(source("multijail"), "tk", "harmful")


def test_an_unknown_benchmark_names_near_ones() -> None:
    with pytest.raises(UnknownNameError, match="benchmark 'advbench'. Did you mean advbench_x"):
        source("advbench")


def test_an_id_that_comes_twice_is_refused(empty: Path) -> None:
    text = multijail(empty / "MultiJail.csv").read_text(encoding="utf-8-sig")
    (empty / "MultiJail.csv").write_text(text.replace("\n3,test", "\n2,test"), encoding="utf-8")
    with pytest.raises(FormatError, match="id 'multijail-2' twice in sw"):
        load(source("multijail"), "sw", "harmful")
    write_jsonl(empty / "csrt.jsonl", ("x", "en", "one"), ("x", "en", "two"))
    with pytest.raises(FormatError, match="id 'x' twice"):
        load(source("csrt"), "en", "harmful")


def test_languages_that_are_not_parallel_are_refused(empty: Path) -> None:
    write_jsonl(empty / "multijail.jsonl", ("a", "en", "1"), ("b", "en", "2"), ("a", "th", "1"), ("c", "th", "3"))
    with pytest.raises(MismatchError, match=r"en has 2 ids, and th lacks 1 .*first: b.* has 1 others .*first: c"):
        load(source("multijail"), "th", "harmful")
    assert [p.id for p in load(source("multijail"), "en", "harmful")] == ["a", "b"]


def test_without_english_the_first_language_is_the_one_to_be_parallel_to(empty: Path) -> None:
    path = empty / "polyrefuse.jsonl"
    write_jsonl(path, ("a", "zh", "other"), ("a", "th", "1"), ("b", "th", "2"), ("b", "ko", "2"), label="harmless")
    assert [p.id for p in load(source("polyrefuse"), "zh", "harmless")] == ["a-zh"]
    assert [p.id for p in load(source("polyrefuse"), "th", "harmless")] == ["a", "b"]
    with pytest.raises(MismatchError, match="th has 2 ids, and ko lacks 1"):
        load(source("polyrefuse"), "ko", "harmless")


@pytest.mark.parametrize("cell", ["", " "])
def test_a_csv_with_a_blank_cell_is_refused(empty: Path, cell: str) -> None:
    path = multijail(empty / "MultiJail.csv")
    with path.open(encoding="utf-8-sig", newline="") as handle:
        lines = list(csv.DictReader(handle))
    lines[4]["bn"] = cell
    with path.open("w", encoding="utf-8", newline="") as handle:
        writer = csv.DictWriter(handle, list(lines[0]))
        writer.writeheader()
        writer.writerows(lines)
    with pytest.raises(FormatError, match=r"MultiJail.csv has no text for the id 'multijail-4' in bn"):
        load(source("multijail"), "bn", "harmful")
    assert len(load(source("multijail"), "sw", "harmful")) == ROWS


def test_a_folder_of_the_source_that_lacks_a_file_says_which_and_where_it_is(local: Path) -> None:
    (local / "PolyRefuse" / "harmless_val_200_sampled.json").unlink()
    with pytest.raises(MissingInputError, match=r"no harmless_val_200_sampled.json .*dataset/splits/harmless_val_200"):
        load(source("polyrefuse"), "en", "harmless")
    assert load(source("polyrefuse"), "de", "harmless"), "the other languages do without it"
    (local / "PolyRefuse" / "harmless_val.json").write_text('[{"instruction": "en x"}]', encoding="utf-8")
    assert [p.prompt for p in load(source("polyrefuse"), "en", "harmless")] == ["en x"]


@pytest.mark.parametrize(
    ("name", "file", "text", "said"),
    [
        ("advbench_x", "advbench_x_json/th.json", '{"safe": []}', "list of texts named safety"),
        ("advbench_x", "advbench_x_json/th.json", "{", "not valid JSON"),
        ("polyrefuse", "PolyRefuse/harmful_test_translated_th.json", '[{"prompt": "x"}]', "not a PolyRefuse file"),
        ("aya_redteaming", "aya_redteaming/aya_fra.jsonl", '{"prompt": "x"}\n', "line 1 is not an object with prompt"),
        ("aya_redteaming", "aya_redteaming/aya_fra.jsonl", "{\n", "line 1 is not a prompt: it is not valid JSON"),
        ("csrt", "csrt.csv", "id,prompt\n1,x\n", "its header lacks category, csrt"),
        ("csrt", "csrt.csv", "id,category,csrt\n1,hate[,x\n", "categories that are not a list"),
        ("xstest", "xstest_prompts.csv", "", "its header lacks id"),
        ("xstest", "xstest_prompts.csv", "id,prompt,type,label\n", "a header and no row"),
        ("csrt", "csrt.csv", "id,category,csrt\n1,x\n", "its row 1 has 2 cells, and the header 3"),
        ("csrt", "csrt.csv", "id,category,csrt,csrt\n", "has the column 'csrt' twice"),
        ("xsafety", "xsafety.parquet", "no parquet", "XSafety's parquet file"),
        ("multijail", "MultiJail.csv", "id,th\n0,x\n", "is not MultiJail's CSV"),
    ],
)
def test_a_damaged_copy_is_named_in_one_sentence(local: Path, name: str, file: str, text: str, said: str) -> None:
    (local / file).write_text(text, encoding="utf-8")
    lang = next(code for code in ("th", "fr", "en") if code in source(name).languages)
    with pytest.raises(FormatError, match=re.escape(said)) as error:
        load(source(name), lang, source(name).labels[0])
    assert str(local / file) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(("name", "label"), PAIRS)
def test_offline_and_not_cached_says_which_file_from_where_and_where_to_put_it(
    name: str, label: Label, empty: Path
) -> None:
    one, lang = source(name), source(name).languages[0]
    split = one.evaluated_splits(label)[0]
    with pytest.raises(MissingInputError) as error:
        load(one, lang, label)
    said = str(error.value)
    assert one.files(lang, label, split)[0] in said and one.pin.revision in said and one.pin.repo in said
    assert "SSN_DATA_DIR" in said and f"{name}.jsonl" in said and f"ssn data fetch {name}`" in said
    put = re.search(r"put that file there as (\S+) ", said)
    assert put and fetching.address(one.pin, one.files(lang, label, split)[0]) in said
    (empty / put[1]).parent.mkdir(exist_ok=True)
    small = write_all(_fresh(empty / "small"))
    (empty / put[1]).write_bytes((small / put[1]).read_bytes())
    assert load(one, lang, label), "done as told, it works"


def _fresh(folder: Path) -> Path:
    folder.mkdir()
    return folder


def test_the_pipelines_reader_takes_the_translation_of_polyrefuses_test_files(local: Path) -> None:
    found = [p for p in read_prompts(local / "PolyRefuse") if (p.lang, p.split) == ("th", "test")]
    assert [p.prompt for p in found] == [prompt("th", i) for i in range(ROWS)]
    english = [p for p in read_prompts(local / "PolyRefuse") if (p.lang, p.label) == ("en", "harmless")]
    assert [p.id for p in english] == [f"harmless-val-{i}" for i in range(ROWS)]


@pytest.fixture
def real(shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSN_DATA_DIR", str(shared_data))


def test_the_real_multijail_has_315_prompts_in_each_of_ten_languages(real: None) -> None:
    ids = [[row["id"] for row in rows("multijail", lang)] for lang in source("multijail").languages]
    assert len(set(ids[0])) == 315 and all(one == ids[0] for one in ids)
    assert len({tag for row in rows("multijail", "en") for tag in row["tags"]}) == 18  # type: ignore[attr-defined]


def test_the_real_polyrefuse_is_parallel_but_for_chinese_harmless_prompts(real: None) -> None:
    def numbers(found: list[Prompt]) -> dict[str, list[str]]:
        return {p.id: re.findall(r"\d+", p.prompt) for p in found}

    languages = ("de", "es", "fr", "ko", "th", "zh")
    sizes: dict[Label, int] = {"harmful": 39, "harmless": 200}
    for label, size in sizes.items():
        english = load(source("polyrefuse"), "en", label)
        assert len(english) == size
        for lang in languages:
            assert len(load(source("polyrefuse"), lang, label)) == size
    english = {i: n for i, n in numbers(load(source("polyrefuse"), "en", "harmless")).items() if n}
    agree = {}
    for lang in languages:
        other = numbers(load(source("polyrefuse"), lang, "harmless"))
        agree[lang] = sum(other[i if lang != "zh" else f"{i}-zh"] == n for i, n in english.items())
    assert len(english) == 27 and agree["zh"] == 0 and min(n for lang, n in agree.items() if lang != "zh") >= 22


@pytest.mark.parametrize("name", [s.name for s in SOURCES.values() if "harmful" in s.labels and s.name != "csrt"])
def test_the_pipeline_reads_every_benchmark_as_lm_eval_does(local: Path, name: str) -> None:
    langs = tuple(code for code in source(name).languages if code in ("en", "th", "fr"))
    harmless = "xstest" if name == "xstest" else "polyrefuse"
    prompts = [
        p
        for p in read_prompts(name, langs, ("harmful",)) + read_prompts(harmless, langs, ("harmless",))
        if p.lang in langs
    ]
    for lang in langs:
        in_lm_eval = {(p.id, p.prompt) for p in load(source(name), lang, "harmful")}
        assert in_lm_eval <= {(p.id, p.prompt) for p in prompts if (p.lang, p.label) == (lang, "harmful")}


def test_a_prompt_set_comes_from_any_benchmark_and_a_limit_counts_in_every_language(local: Path) -> None:
    def prepared(**changes: object) -> list[Prompt]:
        chosen = PromptParams(harmful="advbench_x", harmless="polyrefuse", **changes)  # type: ignore[arg-type]
        return prepare(
            Params(
                model="real",
                models={"real": {"pretrained": "x"}},
                hr="en",
                languages=("en", "zh", "th"),
                prompts=chosen,
            )
        )

    prompts = prepared(limit=2)
    counts = Counter((p.lang, p.label, p.split) for p in prompts)
    assert {p.id.split("-")[0] for p in prompts if p.label == "harmful"} == {"advbench"}
    assert all(counts[lang, "harmful", "train"] == 2 for lang in ("en", "zh", "th"))
    assert all(counts[lang, "harmless", "heldout"] == 2 for lang in ("en", "zh", "th")), "zh has ids of its own"
    ids = {lang: {p.id for p in prompts if (p.lang, p.label) == (lang, "harmful")} for lang in ("en", "zh", "th")}
    assert ids["en"] == ids["zh"] == ids["th"]


def test_a_prompt_set_says_which_languages_a_benchmark_has(local: Path) -> None:
    settings = Params(
        model="real",
        models={"real": {"pretrained": "x"}},
        hr="en",
        languages=("en", "jv"),
        prompts=PromptParams(harmful="advbench_x"),
    )
    with pytest.raises(EmptySetError, match=r"no harmful prompts in jv.*prompts.harmful has only af, ar"):
        prepare(settings)


def test_one_rule_for_ssn_data_dir(empty: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSN_DATA_DIR", str(empty / "gone"))
    for read in (lambda: read_prompts("multijail"), lambda: load(source("multijail"), "th", "harmful")):
        with pytest.raises(MissingInputError, match="SSN_DATA_DIR is .* which is no folder"):
            read()


def test_one_language_of_a_benchmark_reads_nothing_else(local: Path) -> None:
    for path in (local / "advbench_x_json").glob("*.json"):
        if path.name not in ("en.json", "th.json"):
            path.unlink()
    assert {(p.lang, p.label) for p in read_one_language("advbench_x", "th", "harmful")} == {("th", "harmful")}
    assert {p.lang for p in read_all_prompts(["advbench_x"], ["en", "th"])} == {"en", "th"}
    with pytest.raises(UnknownNameError, match="label of advbench_x"):
        read_one_language("advbench_x", "th", "harmless")
    with pytest.raises(EmptySetError, match="th/harmless"):
        read_one_language(local / "MultiJail.csv", "th", "harmless")


def test_all_splits_of_harmbench_and_or_bench_are_evaluated_together(local: Path) -> None:
    assert len(load(source("harmbench"), "en", "harmful")) == 2 * ROWS
    hard = load(source("orbench_hard"), "en", "harmless")
    assert len(hard) == 3 * ROWS and {p.split for p in hard} == {None}
    assert [p.id for p in hard][::ROWS] == ["orbench_hard-train-0", "orbench_hard-val-0", "orbench_hard-test-0"]
    assert [hard[0].tags, hard[1].tags] == [(), ("a",)]
    (local / "orbench_hard" / "or_bench_hard_val.json").write_text('[{"prompt": "x"}]', encoding="utf-8")
    with pytest.raises(FormatError, match="no list of objects with instruction and category, as orbench_hard has them"):
        load(source("orbench_hard"), "en", "harmless")


def test_linguasafes_levels_are_its_labels_and_native_prompts_translate_no_others(local: Path) -> None:
    harmful, harmless = (load(source("linguasafe"), "ms", label) for label in ("harmful", "harmless"))
    assert [p.id for p in harmless] == ["linguasafe-0", "linguasafe-4"]
    assert [p.id for p in harmful] == ["linguasafe-1", "linguasafe-2", "linguasafe-3-ms", "linguasafe-4-2"]
    assert harmful[2].tags == ("Harm", "Severe", "level 3")


def test_the_pipeline_reads_an_english_benchmark_by_its_name(local: Path) -> None:
    chosen = PromptParams(harmful="harmbench", harmless="oktest")
    prompts = from_sources(("en",), chosen)
    assert {p.split for p in prompts} == {"train", "heldout"}
    assert [sum(p.label == label for p in prompts) for label in ("harmful", "harmless")] == [2 * ROWS, ROWS]
    with pytest.raises(EmptySetError, match=r"no harmful prompts in th.* has only en\. Shared neurons need a second"):
        from_sources(("en", "th"), chosen)
