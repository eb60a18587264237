"""The report: made of synthetic results whose answer is known, with equal bytes for equal numbers and nothing fetched."""

from __future__ import annotations

import base64
import csv
import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import results_made
from results_made import LANGS, SELECT, counts, rates, write
from rich.console import Console

from ssn_eval.core.errors import FormatError, MissingInputError, SsnError
from ssn_eval.report import charts, scripts
from ssn_eval.report import page as report_page
from ssn_eval.report.page import build
from ssn_eval.report.results import read
from ssn_eval.report.summary import table

SECTIONS = (
    "answer",
    "tiers",
    "suppression",
    "amplification",
    "training",
    "cost",
    "claims",
    "neurons",
    "overlap",
    "sensitivity",
    "changes",
    "samples",
    "provenance",
)


@pytest.fixture(autouse=True)
def undrawn(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are drawn only in the tests that look at them."""
    if "drawn" not in request.fixturenames:
        monkeypatch.setattr(report_page, "rendered", results_made.undrawn)


@pytest.fixture
def drawn() -> None:
    """Asks for real figures."""


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A whole pipeline's results."""
    return results_made.make(tmp_path / "results")


class Page(HTMLParser):
    """What a browser would fetch, run, or get wrong in a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.ids: Counter[str] = Counter()
        self.links: list[str] = []
        self.unnamed: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags[tag] += 1
        self.ids.update(v for k, v in attrs if k == "id" and v)
        self.links += [v or "" for k, v in attrs if k in ("href", "src", "xlink:href", "srcset", "data", "action")]
        if found.get("role") == "img" and not found.get("aria-label"):
            self.unnamed.append(tag)


def page(results: Path, out: Path) -> str:
    build(results, out)
    return (out / "index.html").read_text(encoding="utf-8")


def spoken(text: str) -> str:
    """The text of a page's answer section, without tags."""
    section = text[text.index('id="answer"') : text.index('id="suppression"')]
    return " ".join(re.sub(r"<[^>]+>", " ", section).split())


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report with its figures, to look at."""
    made = tmp_path_factory.mktemp("whole")
    build(results_made.make(made / "results"), made / "out")
    return made / "out"


def test_every_section_has_its_heading_and_every_chart_its_text_and_table(whole: Path):
    text = (whole / "index.html").read_text(encoding="utf-8")
    parsed = Page(text)
    for name in SECTIONS:
        assert f'<h2 id="{name}">' in text
    figures = {p.stem for p in (whole / "figures").glob("*.svg")}
    assert figures == {
        "safety",
        "sharing",
        "suppression",
        "amplification",
        "training",
        "over_refusal",
        "loss",
        "neurons",
        "overlap",
        "sensitivity",
    }
    assert figures == {p.stem for p in (whole / "figures").glob("*.png")}
    assert parsed.tags["svg"] == len(figures) and not parsed.unnamed
    for section in re.findall(r"<section.*?</section>", text, re.DOTALL):
        assert "<figure>" not in section or "<table>" in section
    assert "dvc repro" in text and "lm_eval --model ssn_hf --tasks organism_safety" in text
    assert "tiny &lt;model&gt;" in text and "0.0.1" in text


SCRIPT = re.compile(r"<script([^>]*)>(.*?)</script>", re.DOTALL)


def test_the_page_fetches_nothing_runs_only_its_scripts_and_is_valid_where_figures_meet(whole: Path):
    text = (whole / "index.html").read_text(encoding="utf-8")
    html, parsed = SCRIPT.sub("", text), Page(SCRIPT.sub("", text))
    assert not re.search(r"https?:|@import|\bon\w+=|url\((?!#)", html)
    assert not {"script", "link", "iframe", "object", "img", "image"} & set(parsed.tags)
    assert [link for link in parsed.links if not link.startswith("#")] == []
    assert [i for i, n in parsed.ids.items() if n > 1] == [], "ids of two figures clash"
    assert {link[1:] for link in parsed.links} <= set(parsed.ids)
    assert {name[1:] for name in re.findall(r"url\((#[^)]+)\)", html)} <= set(parsed.ids)
    assert "prefers-color-scheme: dark" in html and "currentColor" in html


def test_the_policy_names_the_scripts_by_hash_and_allows_nothing_else(whole: Path):
    text = (whole / "index.html").read_text(encoding="utf-8")
    (policy,) = re.findall(r'<meta http-equiv="Content-Security-Policy" content="([^"]+)">', text)
    rules = dict(rule.strip().split(" ", 1) for rule in policy.replace("&#39;", "'").split(";"))
    found = SCRIPT.findall(text)
    code = [script for attributes, script in found if "application/json" not in attributes]
    hashes = [base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() for script in code]
    assert rules["default-src"] == "'none'" and rules["script-src"].split() == [f"'sha256-{h}'" for h in hashes]
    assert len(found) == 3 and len(code) == 2 and not any("src" in attributes for attributes, _ in found)
    assert text.index("Content-Security-Policy") < text.index("<style>") < text.index("<script")


def test_no_text_of_a_run_ends_the_element_of_the_data():
    value = {"a": "</script><script>alert(1)</script><!-- \u2028"}
    shown = scripts.data(value)
    assert "<" not in shown and "\u2028" not in shown and json.loads(shown) == value


def data_of(folder: Path) -> dict[str, Any]:
    """What the scripts of a page read."""
    text = (folder / "index.html").read_text(encoding="utf-8")
    (found,) = [script for attributes, script in SCRIPT.findall(text) if "application/json" in attributes]
    return json.loads(found)


def views(spec: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A view and every view in it."""
    yield spec
    for inner in (*spec.get("layer", ()), *spec.get("concat", ())):
        yield from views(inner)


def test_the_page_draws_the_charts_of_the_files_with_tooltips_that_name_what_counts(whole: Path):
    drawn_charts = data_of(whole)["charts"]
    assert set(drawn_charts) == {p.stem for p in (whole / "figures").glob("*.svg")}
    for name, spec in drawn_charts.items():
        tips = [view["encoding"]["tooltip"] for view in views(spec) if "tooltip" in view.get("encoding", {})]
        assert tips, f"{name} has no tooltip"
        values = [v for view in views(spec) for v in view.get("data", {}).get("values", ()) if "said" in v]
        for fields in tips:
            assert any({tip["field"] for tip in fields} <= value.keys() for value in values), name
    for name in ("safety", "suppression", "training", "over_refusal"):
        (fields,) = [
            view["encoding"]["tooltip"] for view in views(drawn_charts[name]) if "tooltip" in view.get("encoding", {})
        ]
        assert {"condition", "language", "n", "95 % interval"} <= {tip["field"] for tip in fields}
    base_zh = next(
        v
        for view in views(drawn_charts["safety"])
        for v in view.get("data", {}).get("values", ())
        if v.get("lang") == "zh"
    )
    assert base_zh["said"] == "base, zh: 80.0 %, 32 of 40, 95 % interval 65 to 90 %"


def test_a_legend_filters_every_view_that_has_values(whole: Path):
    for name, spec in data_of(whole)["charts"].items():
        series = [name for name, *_ in spec.get("usermeta", {}).get("series", ())]
        for view in views(spec):
            values = view.get("data", {}).get("values", ())
            if any("series" in v for v in values) and series:
                assert "hidden" in view["transform"][0]["filter"], name
                assert {v["series"] for v in values} <= set(series), name


def test_what_the_page_compares_are_the_measured_verdicts(whole: Path):
    found = data_of(whole)["samples"]
    letters = {one["label"]: one["letters"] for one in found["conditions"]}
    assert len(found["ids"]) == 40 and found["languages"] == list(LANGS) and found["texts"] == {}
    assert {"base", "SS suppressed", "SS × 2", "random 0 suppressed", "trained SS", "trained all weights"} <= set(
        letters
    )
    assert letters["base"]["zh"].count("R") == 32 and letters["SS suppressed"]["sw"].count("A") == 38
    assert found["shown"] == ["base", "SS suppressed", "trained SS"] and found["left_out"] == 0


@pytest.mark.usefixtures("drawn")
def test_equal_results_give_equal_bytes(whole: Path, results: Path, tmp_path: Path):
    build(results, tmp_path / "again")
    first, second = (
        {p.relative_to(top): p.read_bytes() for p in top.rglob("*") if p.is_file()}
        for top in (whole, tmp_path / "again")
    )
    assert first == second and len(first) == 24


def test_the_answer_is_yes_when_ss_beats_every_random_control(results: Path, tmp_path: Path):
    said = spoken(page(results, tmp_path / "out"))
    assert "random control? Yes. With 9 SS-Neurons (1.00 % of the candidates) set to zero" in said
    assert "mean NHR refusal goes from 65 % to 8 % (−57 points, 95 % interval −" in said
    assert "2 matched random controls leave it at 61–61 %" in said
    assert "significant (McNemar, Holm-corrected p &lt; .05) in zh, sw." in said
    assert "Yes, at α = 2, 10." in said and "α = 10: 100 %" in said and "capability 8 %" in said
    assert "trained SS? Mean NHR refusal 65 % → 96 %" in said and "500 parameters, 0.50 % of all" in said
    assert "trained all weights?" in said and "Harmless prompts refused: 100 %" in said


def test_the_answer_names_what_the_same_training_of_random_neurons_does(results: Path, tmp_path: Path):
    said = spoken(page(results, tmp_path / "out"))
    assert "No random neurons were trained beside it" in said
    evaluated = json.loads((results / "evaluate" / "ssn.json").read_text())
    write(results / "evaluate" / "random.json", {**evaluated, **counts(rates(40, 30, 36))})
    said = spoken(page(results, tmp_path / "out"))
    assert "No random neurons" not in said and "p of the change trained random" in said
    assert re.search(
        r"trained random reaches 82 %, and trained SS differs from it by \+14 points, 95 % interval [+−]\d+ to", said
    ), said[:2000]


def test_the_price_names_the_worst_language(results: Path, tmp_path: Path):
    said = spoken(page(results, tmp_path / "out"))
    assert re.search(r"harmless prompts refused \d+ % → \d+ % \(worst language: [+−±]\d+ points\), capability", said)


def test_a_legend_has_as_many_columns_as_the_chart_has_room():
    def columns(names: list[str]) -> int:
        return charts.series(names)["color"]["legend"]["columns"]

    assert columns([f"n{k}" for k in range(4)]) == 4
    assert columns([f"a long name of a condition {k}" for k in range(8)]) in (2, 3)
    assert columns(["x" * 200]) == 1


def test_no_two_series_look_alike():
    assert len({charts.look(k) for k in range(64)}) == 64


def test_the_answer_is_no_when_one_random_control_does_as_much_in_one_language(results: Path, tmp_path: Path):
    conditions = {"suppress": counts(rates(40, 4, 19))}
    write(results / "validate" / "random_1.json", {"set": "random_1", "size": 9, "conditions": conditions})
    said = spoken(page(results, tmp_path / "out"))
    assert "No: in 1 of 2 (sw)." in said and "significant (McNemar, Holm-corrected p &lt; .05) in sw." in said


def test_metrics_and_plots_hold_the_measured_numbers(results: Path, tmp_path: Path):
    found = build(results, tmp_path / "out")
    assert json.loads((tmp_path / "out" / "metrics.json").read_text()) == found
    assert found["conditions"]["base"] == {
        "hr_refusal": 1.0,
        "nhr_refusal": 0.65,
        "harmless_refusal": 0.025,
        "capability": 0.95,
    }
    assert found["conditions"]["suppress ss"]["nhr_refusal"] == 0.075
    assert {"suppress random_0", "suppress random_1", "scale:2 ss", "scale:10 ss", "train ssn", "train full"} <= set(
        found["conditions"]
    )
    rows = list(csv.DictReader((tmp_path / "out" / "plots" / "refusal.csv").open()))
    assert {"lang": "sw", "variant": "suppress ss", "refusal": "0.0500"} in rows and list(rows[0]) == [
        "lang",
        "variant",
        "refusal",
    ]
    curve = list(csv.DictReader((tmp_path / "out" / "plots" / "loss.csv").open()))
    assert len(curve) == 6 and curve[0] == {"method": "ssn", "step": "1", "loss": "2.0"}


def test_stability_is_shown_where_it_was_measured(results: Path, tmp_path: Path):
    assert "Two halves" not in page(results, tmp_path / "without")
    halves = {"sizes": [9, 8], "jaccard": 0.625, "chance": 0.034}
    nothing = {"sizes": [0, 0], "jaccard": None, "chance": None}
    spearman = {lang: {"harmful": {"all": 0.95, "within_layer": 0.871}, "harmless": {"all": None}} for lang in LANGS}
    stability = {"sets": {"ms/en": halves, "ss/zh": halves, "ss/sw": nothing}, "spearman": spearman}
    write(results / "select.json", SELECT | {"stability": stability})
    text = " ".join(re.sub(r"<[^>]+>", " ", page(results, tmp_path / "with")).split())
    assert "MS 0.62 (0.03) – –" in text and "SS – 0.62 (0.03) –" in text and "private – – –" in text
    assert "harmful scores within layers 0.87 0.87 0.87" in text and "harmless scores within layers – – –" in text


def test_factors_are_ordered_as_numbers(results: Path, tmp_path: Path):
    names = list(build(results, tmp_path / "out")["conditions"])
    assert names.index("scale:2 ss") < names.index("scale:10 ss")


def test_intervals_are_wilsons(results: Path, tmp_path: Path):
    assert "<td>80 [65, 90]</td>" in page(results, tmp_path / "out")  # 32 of 40, base in zh


def test_the_page_needs_only_the_base_and_the_selection(results: Path, tmp_path: Path):
    for path in [*results.glob("validate/*"), *results.glob("train/*"), *results.glob("evaluate/[!b]*")]:
        path.unlink()
    text = page(results, tmp_path / "out")
    said = spoken(text)
    assert said.count("Not measured.") == 3 and "Yes" not in said
    assert "80 [65, 90]" in text
    assert (tmp_path / "out" / "plots" / "loss.csv").read_text() == "method,step,loss\n"


def test_an_empty_ss_and_an_unmeasured_capability_are_said_not_guessed(results: Path, tmp_path: Path):
    write(
        results / "select.json",
        SELECT | {"named": {"ms_hr": 30, "ss": 0}, "per_key": {"ms_hr": {}, "ss": {}}, "sensitivity": []},
    )
    write(results / "validate" / "ss.json", {"set": "ss", "size": 0, "conditions": {}})
    write(results / "evaluate" / "base.json", {"variant": "base", **counts(rates(40, 32, 20), capable=None)})
    write(results / "train" / "ssn.json", {"method": "ssn", "untrained": "the set ss is empty, so ssn trains nothing"})
    (results / "evaluate" / "ssn.json").unlink()
    found = build(results, tmp_path / "out")
    said = spoken((tmp_path / "out" / "index.html").read_text(encoding="utf-8"))
    assert "Not measured. SS is empty" in said and "capability: –" in said
    assert "The set ss is empty, so ssn trains nothing." in said and "train ssn" not in found["conditions"]
    assert found["conditions"]["base"]["capability"] is None


@pytest.mark.parametrize("name", ["select.json", "evaluate/base.json"])
def test_missing_results_say_what_to_run_and_write_nothing(results: Path, tmp_path: Path, name: str):
    (results / name).unlink()
    for call in (lambda: build(results, tmp_path / "out"), lambda: table(read(results))):
        with pytest.raises(MissingInputError, match="dvc repro"):
            call()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("select.json", "[]"),
        ("select.json", '{"hr": "en"}'),
        ("evaluate/base.json", '{"variant": "base"}'),
        ("evaluate/base.json", "[1]"),
        ("validate/ss.json", '{"conditions": {"twist": {"by_lang": {}}}}'),
        ("train/ssn.json", "{half"),
    ],
)
def test_a_damaged_file_is_one_sentence(results: Path, tmp_path: Path, name: str, content: str):
    (results / name).write_text(content)
    with pytest.raises(FormatError):
        build(results, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_more_refusals_than_prompts_is_not_a_rate(results: Path, tmp_path: Path):
    write(results / "evaluate" / "base.json", {"variant": "base", **counts(rates(40, 41, 20))})
    with pytest.raises(SsnError, match="41 successes of 40"):
        build(results, tmp_path / "out")


def test_the_terminal_table_fits_80_columns_whole(results: Path):
    console = Console(width=80, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(table(read(results)))
    lines = [" ".join(line.split()) for line in console.export_text().splitlines()]
    assert max(map(len, lines)) <= 80
    assert "base 100 80 50 3 95" in lines and "SS suppressed 20 10 5 3 95" in lines
    for label in ("random 0 suppressed", "random 1 suppressed", "SS × 2", "trained SS", "trained all weights"):
        assert any(line.startswith(label + " ") for line in lines), label
