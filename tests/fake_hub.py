"""A model hub on loopback that `huggingface_hub` really talks to: who am I, make a repository, commit files."""

from __future__ import annotations

import base64
import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "hf_of_the_test"


class Hub(ThreadingHTTPServer):
    """What was made and committed; a card's front matter is looked at as far as the hub does."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.repos: dict[str, dict[str, Any]] = {}
        """`models/owner/name` → what it was made with"""
        self.files: dict[str, dict[str, bytes]] = {}
        """`models/owner/name` → path → content"""
        self.asked: list[str] = []
        self.read_only = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is no fault; anything else is told, as ever."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    """One request."""

    server: Any
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        if self.path.startswith("/api/whoami-v2") and self._known():
            self._answer(200, {"name": "you", "type": "user"})
        elif self._known():
            self._answer(404, {"error": "not here"})

    def do_POST(self) -> None:
        hub: Hub = self.server
        hub.asked.append(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path == "/api/validate-yaml":
            good = json.loads(body)["content"].startswith("---\n")
            return self._answer(
                200 if good else 400, {"errors": [] if good else [{"message": "no YAML"}], "warnings": []}
            )
        if not self._known():
            return None
        if hub.read_only:
            return self._answer(403, {"error": "this token may only read"})
        if self.path == "/api/repos/create":
            wanted = json.loads(body)
            name = f"{wanted.get('type', 'model')}s/{wanted['organization']}/{wanted['name']}"
            hub.repos.setdefault(name, wanted)
            return self._answer(200, {"url": f"{hub.url}/{name.removeprefix('models/')}"})
        repo, _, action = self.path.removeprefix("/api/").partition("?")[0].rpartition("/main")[0].rpartition("/")
        if action == "preupload":
            paths = [file["path"] for file in json.loads(body)["files"]]
            return self._answer(
                200, {"files": [{"path": p, "uploadMode": "regular", "shouldIgnore": False} for p in paths]}
            )
        if action == "commit":
            lines = [json.loads(line) for line in body.splitlines()]
            added = {v["path"]: base64.b64decode(v["content"]) for line in lines if (v := line["value"]).get("path")}
            hub.files.setdefault(repo, {}).update(added)
            url = f"{hub.url}/{repo.removeprefix('models/')}/commit/0123"
            return self._answer(200, {"commitUrl": url, "commitOid": "0123", "success": True})
        return self._answer(404, {"error": "not here"})

    def _known(self) -> bool:
        if self.headers.get("Authorization") == f"Bearer {TOKEN}":
            return True
        self._answer(401, {"error": "Invalid username or password."})
        return False

    def _answer(self, status: int, value: object) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@contextmanager
def running() -> Iterator[Hub]:
    """A hub while the body runs."""
    hub = Hub()
    thread = threading.Thread(target=hub.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.shutdown()
        hub.server_close()
