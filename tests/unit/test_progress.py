"""The bar is on a terminal's stderr alone, says the time left, and never stands inside another; a file gets a line now and then."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys

import pytest

from ssn_eval.core import progress

CODE = """
import sys, time
from ssn_eval.core.progress import part, progress, track, waiting
with progress("outer", 4) as advance:
    for _ in track(range(4), "inner", 4):
        time.sleep(0.15); part(0.5); time.sleep(0.15); advance()
    with waiting("fetching"):
        print("a bar of another library", file=sys.stderr)
with waiting("loading"): time.sleep(0.3)
print("done")
"""


def test_silent_without_a_terminal():
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("done\n", "a bar of another library\n")


def test_on_a_terminal_with_the_time_left_and_one_at_a_time():
    ours, theirs = pty.openpty()
    plain = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR")} | {"TERM": "xterm"}
    process = subprocess.Popen(
        [sys.executable, "-c", CODE], stdout=subprocess.PIPE, stderr=theirs, env=plain, text=True
    )
    os.close(theirs)
    shown = b""
    try:
        while part := os.read(ours, 4096):
            shown += part
    except OSError:  # the other end is closed
        pass
    os.close(ours)
    assert process.communicate()[0] == "done\n" and process.returncode == 0
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode())
    assert "outer" in text and "inner" not in text and "fetching …" in text and "loading …" in text
    assert re.search(r"outer .*[0-4]/4 0:00:0\d 0:00:0\d", text), "steps, time passed, time left"
    assert text.count("a bar of another library") == 1, "it is written as it is, while our bar is away"


@pytest.fixture
def clock(monkeypatch) -> list[float]:
    """The seconds of the clock, which a test sets."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_a_file_gets_a_line_every_five_minutes(clock, capsys):
    with progress.progress("validating", 10) as advance:
        for clock[0] in (100.0, 200.0, 400.0, 500.0):
            advance()
        progress.part(0.5)
        clock[0] = 1000.0
        progress.part(0.2)  # less than before: nothing has changed
        progress.part(0.8)
    assert capsys.readouterr().err.splitlines() == [
        "validating: 30 %, about 16 min left",
        "validating: 48 %, about 18 min left",
    ]
    assert not progress.is_open()


@pytest.mark.parametrize(("seconds", "text"), [(4.4, "4 s"), (89, "89 s"), (150, "2 min"), (7800, "2 h 10 min")])
def test_a_time_for_people(seconds, text):
    assert progress.duration(seconds) == text
