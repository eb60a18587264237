"""GitHub and the hub in one small server on loopback: files at commits, lists of files, parts of files, answers that break off."""

from __future__ import annotations

import hashlib
import http.server
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from dataclasses import replace as changed
from typing import Any

import pytest

from ssn_eval.prompts.benchmarks import fetching
from ssn_eval.prompts.benchmarks import pins as table
from ssn_eval.prompts.benchmarks.pins import Checksum
from ssn_eval.prompts.benchmarks.source import Source


@dataclass
class SourceServer:
    """What the server has and what it was asked for."""

    files: dict[str, bytes] = field(default_factory=dict)
    """path of a URL → its answer"""
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    """path and Range of every request"""
    breaks_off_after: int | None = None
    """bytes of the next file; the connection is then closed"""

    def offer(self, source: Source, path: str, content: bytes, revision: str | None = None) -> None:
        """Have a file, and a list of the commit in which it is."""
        pin, revision = source.pin, revision or source.pin.revision
        blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        if pin.host == "github":
            self.files[f"/raw/{pin.repo}/{revision}/{path}"] = content
            rows: Any = {"tree": [{"path": path, "type": "blob", "sha": blob, "size": len(content)}]}
            self.files[f"/api/repos/{pin.repo}/git/trees/{revision}"] = json.dumps(rows).encode()
        else:
            self.files[f"/hub/datasets/{pin.repo}/resolve/{revision}/{path}"] = content
            lfs = {"oid": hashlib.sha256(content).hexdigest(), "size": len(content)}
            rows = [{"path": path, "type": "file", "oid": "0" * 40, "size": 100, "lfs": lfs}]
            self.files[f"/hub/api/datasets/{pin.repo}/tree/{revision}"] = json.dumps(rows).encode()


@contextmanager
def running(monkeypatch: pytest.MonkeyPatch) -> Iterator[SourceServer]:
    """Start the server, and send everything there that would go to GitHub or the hub."""
    state = SourceServer()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path, wanted = self.path.split("?")[0], self.headers.get("Range")
            state.asked.append((path, wanted))
            content = state.files.get(path)
            if content is None:
                self.send_error(404)
                return
            start = int(re.findall(r"\d+", wanted)[0]) if wanted else 0
            if start >= len(content) > 0:
                self.send_error(416)
                return
            self.send_response(206 if wanted else 200)
            self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            end = len(content) if state.breaks_off_after is None else start + state.breaks_off_after
            state.breaks_off_after = None
            self.wfile.write(content[start:end])

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    base = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(fetching, "RAW", f"{base}/raw")
    monkeypatch.setattr(fetching, "API", f"{base}/api")
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", f"{base}/hub")
    monkeypatch.setattr(
        "huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE",
        f"{base}/hub/{{repo_id}}/resolve/{{revision}}/{{filename}}",
    )
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()


def pin(monkeypatch: pytest.MonkeyPatch, source: Source, contents: dict[str, bytes]) -> None:
    """Let the table of sources name these contents for a benchmark, and no other file."""
    checksums = {
        path: Checksum("sha256", hashlib.sha256(content).hexdigest(), len(content))
        for path, content in contents.items()
    }
    rows = {**table.pins(), source.name: changed(source.pin, files=checksums)}
    monkeypatch.setattr("ssn_eval.prompts.benchmarks.source.pins", lambda: rows)
