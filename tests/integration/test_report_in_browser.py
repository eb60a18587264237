"""The report in a real browser: no console message, every section and chart drawn, nothing wider than the screen, a printed PDF."""

from __future__ import annotations

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
PROBE = """<script>
addEventListener("load", () => {
  document.querySelectorAll("details").forEach(d => { d.open = true; });
  const box = e => { const b = e.getBoundingClientRect(); return [Math.round(b.width), Math.round(b.height)]; };
  const found = {
    width: innerWidth, scroll: document.documentElement.scrollWidth,
    headings: [...document.querySelectorAll("h2")].map(h => [h.id, box(h)[1]]),
    charts: [...document.querySelectorAll("figure svg")].map(box),
    tables: document.querySelectorAll("table").length,
    ink: getComputedStyle(document.body).color, paper: getComputedStyle(document.body).backgroundColor,
    blurred: [...document.querySelectorAll(".hidden")].map(e => getComputedStyle(e).filter),
  };
  parent.postMessage(found, "*");
});
</script>"""
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


def looked_at(report: Path, folder: Path, width: int, dark: bool = False) -> dict[str, Any]:
    """What a page measures in a window of a width, every fold opened."""
    text = (report / "index.html").read_text(encoding="utf-8")
    (folder / "probed.html").write_text(text.replace("</body>", f"{PROBE}</body>"), encoding="utf-8")
    (folder / "frame.html").write_text(FRAME.format(width=width), encoding="utf-8")
    scheme = f"--blink-settings=preferredColorScheme={0 if dark else 1}"
    url = (folder / "frame.html").as_uri()
    done = chromium(folder, scheme, "--window-size=1400,1000", "--virtual-time-budget=10000", "--dump-dom", url)
    said = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    assert not said, said
    found = re.search(r'<pre id="found">(.*?)</pre>', done.stdout, re.DOTALL)
    assert found and found[1], "the page told nothing"
    return json.loads(found[1].replace("&amp;", "&").replace("&lt;", "<").replace("&gt;", ">"))


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report with everything that a run alone can have, texts of samples too."""
    folder = tmp_path_factory.mktemp("run")
    results = results_made.make(folder / "results")
    results_made.add_samples(results)
    page.build(results, folder / "report", page.Beside(samples=True))
    return folder / "report"


@pytest.mark.parametrize("width", [1200, 400])
def test_every_section_and_chart_is_drawn_and_fits_the_screen(report: Path, tmp_path: Path, width: int):
    found = looked_at(report, tmp_path, width)
    assert found["width"] == width and found["scroll"] <= width, "the page scrolls sideways"
    text = (report / "index.html").read_text(encoding="utf-8")
    assert [name for name, _ in found["headings"]] == re.findall(r'<h2 id="(\w+)"', text) and len(
        found["headings"]
    ) >= 12
    assert all(height > 0 for _, height in found["headings"])
    assert len(found["charts"]) == len(list((report / "figures").glob("*.svg"))) >= 10
    assert all(300 <= w <= width and h >= 100 for w, h in found["charts"]), found["charts"]
    assert found["tables"] >= 15
    assert found["blurred"] and all("blur" in how for how in found["blurred"]), "texts are hidden until asked for"


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
