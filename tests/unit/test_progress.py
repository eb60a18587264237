"""The bar is on a terminal's stderr alone, says the time left, and never stands inside another."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys

CODE = """
import time
from ssn_eval.core.progress import progress, track, waiting
with progress("outer", 4) as advance:
    for _ in track(range(4), "inner", 4):
        time.sleep(0.15); advance()
with waiting("loading"): time.sleep(0.3)
print("done")
"""


def test_silent_without_a_terminal():
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("done\n", "")


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
    assert "outer" in text and "inner" not in text and "loading" in text
    assert re.search(r"outer .*[0-4]/4 0:00:0\d 0:00:0\d", text), "steps, time passed, time left"
