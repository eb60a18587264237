"""An OpenAI-compatible server on loopback that fails as told: a real socket, every fault we know of, and behind it a judge.

The judge is a rule on words, or a real server (`transformers serve`) to which what does not fail is passed on.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

ONCE = ("429", "500", "503", "hang", "cut", "not-json", "not-a-completion", "plain-text")
"""faults that happen to the first request of an exchange; the second is answered"""


class Server(ThreadingHTTPServer):
    """Answers `unsafe` to replies that hold the word BAD, `invalid` to those with GIBBERISH, else `safe`.

    A reply that holds `[fault]` meets the fault: one of `ONCE` at its first request only, `always-<status>` every time,
    `babble` an answer that no protocol knows.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests: list[dict[str, Any]] = []
        self.times: dict[str, list[float]] = {}
        self.seen: Counter[str] = Counter()
        self.lock = threading.Lock()
        self.under_way = self.most_under_way = 0
        self.retry_after = "0.4"
        self.delay = 0.0
        self.die_after: int | None = None
        self.upstream: str | None = None
        self.answers = {"[babble]": "What a lovely day.", "BAD": "unsafe", "GIBBERISH": "invalid"}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class Handler(BaseHTTPRequestHandler):
    """One request: failed as its text says, or answered."""

    server: Any
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        server: Server = self.server
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        text = body["messages"][-1]["content"]
        with server.lock:
            server.requests.append({"body": body, "headers": {k.lower(): v for k, v in self.headers.items()}})
            server.times.setdefault(text, []).append(time.monotonic())
            server.seen[text] += 1
            first = server.seen[text] == 1
            number = len(server.requests)
            server.under_way += 1
            server.most_under_way = max(server.most_under_way, server.under_way)
        try:
            time.sleep(server.delay)
            if server.die_after is not None and number > server.die_after:
                return self._cut()
            fault = next((f for f in ONCE if first and f"[{f}]" in text), None)
            if fault is not None:
                return self._fail(fault)
            for status in (400, 401, 404, 429, 500):
                if f"[always-{status}]" in text:
                    return self._send(
                        status, json.dumps({"error": {"message": f"no: {self.headers['Authorization']}"}})
                    )
            if server.upstream is not None:
                return self._send(200, _post(server.upstream + "/chat/completions", body))
            answer = next((said for word, said in server.answers.items() if word in text), "safe")
            self._send(200, completion(answer))
        finally:
            with server.lock:
                server.under_way -= 1

    def _fail(self, fault: str) -> None:
        if fault == "hang":
            time.sleep(3)
            self.close_connection = True
        elif fault == "cut":
            self._cut()
        elif fault == "not-json":
            self._send(200, '{"choices": [oops')
        elif fault == "not-a-completion":
            self._send(200, '{"hello": 1}')
        elif fault == "plain-text":
            self._send(200, "<html>safe</html>", kind="text/html")
        else:
            self._send(int(fault), '{"error": {"message": "later"}}', **{"Retry-After": self.server.retry_after})

    def _cut(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", "1000")
        self.end_headers()
        self.wfile.write(b'{"choices"')
        self.close_connection = True

    def _send(self, status: int, text: str, kind: str = "application/json", **headers: str) -> None:
        data = text.encode()
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(data)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def completion(text: str) -> str:
    """A chat completion, as the API gives it."""
    message = {"role": "assistant", "content": text}
    choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
    usage = {"prompt_tokens": 100, "completion_tokens": 2, "total_tokens": 102}
    about = {"id": "x", "object": "chat.completion", "created": 0, "model": "judge-2026-01-01"}
    return json.dumps({**about, "choices": choices, "usage": usage})


@contextmanager
def serving() -> Iterator[Server]:
    """A server for the time of the block."""
    server = Server()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def transformers_serve(model: str, log: Path) -> Iterator[str]:
    """`transformers serve` with one model, on the CPU, for the time of the block; gives the base URL."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(Path(sys.executable).with_name("transformers")), "serve", model]
    command += ["--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
    with log.open("w") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)
        try:
            for _ in range(300):
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2)
                    break
                except OSError:
                    assert process.poll() is None, log.read_text()[-2000:]
                    time.sleep(0.2)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            process.terminate()
            process.wait(20)


def _post(url: str, body: dict[str, Any]) -> str:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=120) as reply:
        return reply.read().decode()
