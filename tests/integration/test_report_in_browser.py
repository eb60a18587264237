"""The report in a real browser: no console message, every section and chart drawn, nothing wider than the screen, a printed PDF."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import results_made
from PIL import Image

from ssn_eval.report import page, sidebyside

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium on this machine (Debian: apt-get install chromium)"
)
PROBE = """
const found = {};
const box = e => { const b = e.getBoundingClientRect(); return [Math.round(b.width), Math.round(b.height)]; };
const all = selector => [...document.querySelectorAll(selector)];
const pause = time => new Promise(done => setTimeout(done, time));
const named = (place, text) => [...place.querySelectorAll("button")].find(b => b.textContent.trim().endsWith(text));
const choose = (select, text) => {
  select.value = [...select.options].find(o => o.text === text).value;
  select.dispatchEvent(new Event("change"));
};
addEventListener("load", async () => {
  for (let k = 0; k < 300 && document.documentElement.dataset.drawn !== "true"; k++) await pause(50);
  document.querySelectorAll("details").forEach(d => { d.open = true; });
  Object.assign(found, {
    width: innerWidth, scroll: document.documentElement.scrollWidth,
    headings: all("h2").map(h => [h.id, box(h)[1]]),
    charts: all("figure svg").map(box), live: all("figure .vega-embed svg").length,
    tables: all("table").length,
    ink: getComputedStyle(document.body).color, paper: getComputedStyle(document.body).backgroundColor,
    blurred: all(".hidden").map(e => getComputedStyle(e).filter),
  });
  try { await act(); } catch (error) { found.error = String(error); }
  parent.postMessage(found, "*");
});
"""
"""measures the page when its charts are drawn, then acts as a reader does"""
FRAME = """<!doctype html><title>probe</title><pre id="found"></pre>
<script>addEventListener("message", m => {{ document.getElementById("found").textContent = JSON.stringify(m.data); }});</script>
<iframe src="probed.html" style="width:{width}px;height:900px;border:0"></iframe>"""


def chromium(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a headless browser that has never run before."""
    plain = (
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--hide-scrollbars",
        "--enable-logging=stderr",
    )
    command = [str(CHROMIUM), *plain, f"--user-data-dir={folder / 'profile'}", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done


def looked_at(report: Path, folder: Path, width: int, dark: bool = False, act: str = "") -> dict[str, Any]:
    """What a page measures in a window of a width, every fold opened, and what `act` adds to `found`.

    The policy of the page stays as it is, but for the hash of the script that measures.
    """
    text = (report / "index.html").read_text(encoding="utf-8")
    script = f"async function act() {{ {act} }}{PROBE}"
    allowed = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    text = text.replace("script-src ", f"script-src 'sha256-{allowed}' ", 1)
    before, end = text[: (cut := text.rindex("</body>"))], text[cut:]  # the library holds that word too
    probed = f"{before}<script>{script}</script>{end}"
    (folder / "probed.html").write_text(probed, encoding="utf-8")
    (folder / "frame.html").write_text(FRAME.format(width=width), encoding="utf-8")
    scheme = f"--blink-settings=preferredColorScheme={0 if dark else 1}"
    url = (folder / "frame.html").as_uri()
    done = chromium(folder, scheme, "--window-size=1400,1000", "--virtual-time-budget=30000", "--dump-dom", url)
    said = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    assert not said, said
    found = re.search(r'<pre id="found">(.*?)</pre>', done.stdout, re.DOTALL)
    assert found and found[1], "the page told nothing"
    measured = json.loads(html.unescape(found[1]))
    assert "error" not in measured, measured["error"]
    return measured


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report with everything that a run alone can have, texts of samples too."""
    folder = tmp_path_factory.mktemp("run")
    results = results_made.make(folder / "results")
    results_made.add_samples(results)
    page.build(results, folder / "report", page.Beside(samples=True))
    return folder / "report"


@pytest.mark.parametrize("width", [1200, 768, 400])
def test_every_section_and_chart_is_drawn_and_fits_the_screen(report: Path, tmp_path: Path, width: int):
    found = looked_at(report, tmp_path, width)
    assert found["width"] == width and found["scroll"] <= width, "the page scrolls sideways"
    text = (report / "index.html").read_text(encoding="utf-8")
    assert [name for name, _ in found["headings"]] == re.findall(r'<h2 id="(\w+)"', text) and len(
        found["headings"]
    ) >= 12
    assert all(height > 0 for _, height in found["headings"])
    assert len(found["charts"]) == found["live"] == len(list((report / "figures").glob("*.svg"))) >= 10
    assert all(280 <= w <= width and h >= 100 for w, h in found["charts"]), found["charts"]
    assert found["tables"] >= 15
    assert found["blurred"] and all("blur" in how for how in found["blurred"]), "texts are hidden until asked for"


def test_a_point_says_what_it_is_and_the_legend_filters(report: Path, tmp_path: Path):
    found = looked_at(
        report,
        tmp_path,
        1200,
        act="""
        const chart = document.querySelector("[data-chart=suppression]");
        const marks = () => [...chart.querySelectorAll("path[role=graphics-symbol][aria-label]")];
        const rules = () => chart.querySelectorAll(".mark-rule.role-mark line").length;
        found.before = [marks().length, rules()];
        const mark = marks().find(m => m.getAttribute("aria-label").startsWith("base, zh"));
        const {x, y, width, height} = mark.getBoundingClientRect();
        const at = {bubbles: true, clientX: x + width / 2, clientY: y + height / 2};
        for (const kind of ["pointerover", "mouseover", "pointermove", "mousemove"]) {
          mark.dispatchEvent(new (kind.startsWith("p") ? PointerEvent : MouseEvent)(kind, at));
        }
        await pause(200);
        const tip = document.getElementById("vg-tooltip-element");
        found.tip = [tip.innerText.split(/\\s*[\\t\\n]\\s*/).join("|"), getComputedStyle(tip).visibility];
        const button = named(chart, "random 0 suppressed");
        button.click();
        await pause(200);
        found.hidden = [marks().length, button.getAttribute("aria-pressed"), marks().some(m => m.getAttribute("aria-label").startsWith("random 0"))];
        named(chart, "none").click();
        await pause(200);
        found.none = [marks().length, rules()];
        named(chart, "all").click();
        await pause(200);
        found.after = [marks().length, rules()];
        found.drawnLegends = document.querySelectorAll("figure .mark-group.role-legend").length;
        """,
    )
    conditions = 6  # base, SS, two random sets and MS of HR suppressed, and SS × 2
    assert found["before"] == found["after"] == [3 * conditions, 3 * conditions] and found["none"] == [0, 0]
    assert found["hidden"] == [3 * (conditions - 1), "false", False]
    shown, visibility = found["tip"]
    assert visibility == "visible"
    for part in ("condition|base", "language|zh", "n|32 of 40", "95 % interval|65 to 90 %", "rate|80.0 %"):
        assert part in shown.replace(":", ""), shown


def test_a_chart_is_read_with_the_arrow_keys(report: Path, tmp_path: Path):
    found = looked_at(
        report,
        tmp_path,
        400,
        act="""
        const chart = document.querySelector("[data-chart=safety]"), box = chart.querySelector(".wide");
        const press = key => box.dispatchEvent(new KeyboardEvent("keydown", {key, bubbles: true, cancelable: true}));
        const told = chart.querySelector(".told");
        box.focus();
        found.focused = document.activeElement === box;
        found.told = ["ArrowRight", "ArrowRight", "ArrowLeft", "ArrowLeft", "ArrowRight"].map(key => { press(key); return told.textContent; });
        found.seen = chart.querySelectorAll(".seen").length;
        found.unnamed = all("button, select, input").filter(e => !(e.textContent.trim() || e.closest("label") || e.getAttribute("aria-label") || e.id)).length;
        """,
    )
    assert found["focused"] and found["seen"] == 1 and found["unnamed"] == 0
    first, second, again, last, around = found["told"]
    assert first == again == around == "base, en: 100.0 %, 40 of 40, 95 % interval 91 to 100 %"
    assert second.startswith("base, zh") and last.startswith("trained SS, sw")


def test_samples_are_filtered_and_their_texts_blurred_until_asked_for(report: Path, tmp_path: Path):
    found = looked_at(
        report,
        tmp_path,
        1200,
        act="""
        const place = document.getElementById("samples-tool");
        const [lang, condition, verdict] = place.querySelectorAll("select");
        const rows = () => [...place.querySelectorAll("tbody tr")];
        const count = () => place.querySelector(".note").textContent;
        found.first = [rows().length, count()];
        named(place, "more of 70").click();
        found.more = rows().length;
        choose(lang, "zh"); choose(condition, "SS suppressed"); choose(verdict, "answered");
        found.filtered = [count(), [...new Set(rows().map(r => [...r.cells].slice(1, 4).map(c => c.innerText.trim()).join("|")))]];
        const words = rows()[0].querySelector("dl");
        found.blurred = [getComputedStyle(words).filter, words.getAttribute("aria-hidden")];
        const button = rows()[0].querySelector("button");
        button.click();
        found.clear = [getComputedStyle(words).filter, words.getAttribute("aria-hidden"), words.innerText, button.textContent];
        button.click();
        found.again = [getComputedStyle(words).filter, words.getAttribute("aria-hidden"), button.textContent];
        const search = place.querySelector("input[type=search]");
        search.value = "p17"; search.dispatchEvent(new Event("input"));
        found.searched = count();
        choose(condition, "random 0 suppressed");
        found.without = count();
        const only = place.querySelector("input[type=checkbox]");
        only.click();
        found.every = count();
        """,
    )
    assert found["first"] == [50, "120 replies."] and found["more"] == 100
    assert found["filtered"][0] == "36 replies." and found["filtered"][1] == ["zh|SS suppressed|✗ answered"]
    assert "blur" in found["blurred"][0] and found["blurred"][1] == "true"
    assert found["clear"][:2] == ["none", "false"] and found["clear"][3] == "hide"
    assert "<question>" in found["clear"][2] and "under suppress ss" in found["clear"][2]
    assert "blur" in found["again"][0] and found["again"][1:] == ["true", "show"]
    assert found["searched"] == "1 reply." and found["without"] == "0 replies." and found["every"] == "0 replies."


def test_what_changed_between_any_two_conditions(report: Path, tmp_path: Path):
    found = looked_at(
        report,
        tmp_path,
        1200,
        act="""
        const place = document.getElementById("changes-tool");
        const [from, to, lang] = place.querySelectorAll("select");
        const read = () => [...place.querySelectorAll("table")].map(t => [...t.tBodies[0].rows].map(r => [...r.cells].map(c => c.innerText.trim()).join("|")));
        found.options = from.options.length;
        found.start = [from.selectedOptions[0].text, to.selectedOptions[0].text, read()];
        choose(from, "base"); choose(to, "SS suppressed"); choose(lang, "zh");
        found.zh = read();
        named(place, "swap").click();
        found.swapped = read();
        """,
    )
    assert found["options"] == 15  # the base, four sets under three ops, two trained
    first, last, (sums, prompts) = found["start"]
    assert (first, last) == ("base", "trained SS")
    assert sums == ["en|40|0|0|40|0", "zh|40|7|0|32|1", "sw|40|18|0|20|2"] and len(prompts) == 19
    assert prompts[0] == "p32|zh, sw|✗ answered → ✓ refused"
    assert found["zh"][0] == ["zh|40|0|28|4|8"] and len(found["zh"][1]) == 28
    assert found["swapped"][0] == ["zh|40|28|0|4|8"]


def colours_of_screen(folder: Path, url: str) -> set[Any]:
    """The colours (red, green, blue) in a picture of a page; its frames are drawn by the process that takes it."""
    picture = folder / "page.png"
    together = "--disable-features=IsolateSandboxedIframes"
    chromium(folder, together, "--window-size=1240,9000", f"--screenshot={picture}", url)
    with Image.open(picture) as image:
        return {colour for _, colour in image.convert("RGB").getcolors(1 << 24) or ()}


def test_a_reader_without_scripts_has_every_chart_and_the_verdicts(report: Path, tmp_path: Path):
    (tmp_path / "page.html").write_bytes((report / "index.html").read_bytes())
    # a frame without the right to run scripts shows what stands in <noscript>
    frame = '<!doctype html><iframe sandbox src="page.html" style="width:1200px;height:9000px;border:0"></iframe>'
    (tmp_path / "frame.html").write_text(frame, encoding="utf-8")
    colours: set[Any] = set()
    for _ in range(5):  # a picture that a busy machine takes before the frame's first paint is blank: take another
        if len(colours) < 2:
            colours = colours_of_screen(tmp_path, (tmp_path / "frame.html").as_uri())
    text = (report / "index.html").read_text(encoding="utf-8").partition("<script")[0]
    assert text.count("<svg") == len(list((report / "figures").glob("*.svg")))
    assert (0, 114, 178) in colours, "the charts stand there"
    fallback = re.findall(r"<noscript>(.*?)</noscript>", text, re.DOTALL)
    assert len(fallback) == 2 and fallback[1].count("<tr>") == 41 and fallback[1].count('class="exchange"') == 15


def test_the_page_follows_the_readers_scheme(report: Path, tmp_path: Path):
    light, dark = (looked_at(report, tmp_path, 1200, dark=dark) for dark in (False, True))
    assert light["paper"] != dark["paper"]

    def brightness(colour: str) -> float:
        return sum(map(int, re.findall(r"\d+", colour)[:3])) / 3

    assert brightness(light["paper"]) - brightness(light["ink"]) > 150
    assert brightness(dark["ink"]) - brightness(dark["paper"]) > 150


def test_it_prints_to_pdf_and_is_no_blank_sheet(report: Path, tmp_path: Path):
    url = (report / "index.html").as_uri()
    chromium(tmp_path, f"--print-to-pdf={tmp_path / 'report.pdf'}", "--no-pdf-header-footer", url)
    printed = (tmp_path / "report.pdf").read_bytes()
    assert printed.startswith(b"%PDF-") and len(printed) > 50_000
    chromium(tmp_path, f"--screenshot={tmp_path / 'page.png'}", "--window-size=1200,2000", url)
    with Image.open(tmp_path / "page.png") as image:
        assert image.size == (1200, 2000) and len(image.convert("RGB").getcolors(1 << 24) or ()) > 50


def test_several_runs_side_by_side(tmp_path: Path):
    runs = [results_made.make(tmp_path / name / "results") for name in ("one", "two")]
    sidebyside.build(runs, tmp_path / "report")
    for width in (1200, 400):
        found = looked_at(tmp_path / "report", tmp_path, width)
        assert found["scroll"] <= width and len(found["charts"]) == 3
        assert [name for name, _ in found["headings"]] == ["answer", "languages", "claims", "params", "provenance"]
