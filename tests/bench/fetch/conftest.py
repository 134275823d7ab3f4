"""A server on this machine that can be told to fail, and a small or real original to serve from it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

import pytest

# Read before any test: each test has this variable taken away (tests/conftest.py).
COPY = os.environ.get("LITMUS_DREAMBOOTH")
BESIDE = Path(__file__).resolve().parents[4] / "shared" / "data" / "dreambooth"  # beside the repository's root

CLASSES = """Classes

subject_name,class
dog6,dog
backpack,backpack

Prompts

Object Prompts
"""


class Handler(BaseHTTPRequestHandler):
    """Files of a folder, with ranges; `server.faults[path]` are done first, one per request of that path."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *args) -> None:
        pass

    def do_GET(self) -> None:
        server: Server = self.server  # type: ignore[assignment]
        path = unquote(self.path).lstrip("/")
        asked = self.headers.get("Range")
        with server.lock:
            server.asked.append((path, asked))
            fault, *rest = server.faults.get(path, [""])
            server.faults[path] = rest or [fault if fault.endswith("!") else ""]
        fault, _, value = fault.rstrip("!").partition(":")
        file = server.root / path
        if fault == "status" or not file.is_file():
            return self._head(int(value or 404), b"no")
        data = file.read_bytes()
        if fault == "altered":
            data = data[:-1] + bytes([data[-1] ^ 1])
        start = 0
        if asked and fault != "no ranges":
            start = int(asked.removeprefix("bytes=").rstrip("-"))
            if start >= len(data):
                return self._head(416, b"")
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        if fault in ("cut", "stall"):
            self.wfile.write(data[start : start + int(value)])
            self.wfile.flush()
            if fault == "stall":
                server.stalled.set()
                server.go_on.wait(20)
            self.close_connection = True
            return None
        self.wfile.write(data[start:])
        return None

    def _head(self, status: int, data: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


class Server(ThreadingHTTPServer):
    daemon_threads = True
    root = Path()

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.lock = threading.Lock()
        self.faults: dict[str, list[str]] = {}
        self.asked: list[tuple[str, str | None]] = []
        self.stalled, self.go_on = threading.Event(), threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/"

    def handle_error(self, request, client_address) -> None:
        pass  # a client that was killed


@pytest.fixture
def server(monkeypatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    made = Server()
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    yield made
    made.go_on.set()
    made.shutdown()
    made.server_close()
    thread.join()


def _small(root: Path, picture) -> None:
    for subject, n in (("dog6", 5), ("backpack", 4)):
        for i in range(n):
            picture(root / "dataset" / subject / f"{i:02}.jpg", size=(64, 48), seed=i + n)
    (root / "dataset" / "prompts_and_classes.txt").write_text(CLASSES)
    (root / "LICENSE.md").write_text("CC-BY-4.0")


def _real(root: Path) -> None:
    """The copy that LITMUS_DREAMBOOTH names, or that lies beside the repository, as the original repository has it."""
    home = Path(COPY) if COPY else BESIDE
    if not home.is_dir():
        pytest.skip("no copy of google/dreambooth: LITMUS_DREAMBOOTH names one, or ../shared/data/dreambooth is one")
    home = home / "dataset" if (home / "dataset").is_dir() else home
    shutil.copytree(
        home, root / "dataset", ignore=lambda _, names: [n for n in names if n.startswith((".", "manifest"))]
    )


@pytest.fixture
def serve(server, tmp_path, monkeypatch):
    """A function: serve(root) lets `server` give that folder; a manifest of exactly its files stands in for ours."""
    from bench.fetch import sources

    def start(root: Path) -> Path:
        files = {
            path.relative_to(root).as_posix(): {
                "bytes": path.stat().st_size,
                "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            }
            for path in sorted(root.rglob("*"))
            if path.is_file()
        }
        manifest = tmp_path / "manifest.json"
        manifest.write_text(json.dumps({"url": server.url, "files": files}))
        monkeypatch.setattr(sources, "MANIFEST", manifest)
        server.root = root
        return root

    return start


@pytest.fixture
def original(serve, tmp_path, picture) -> Path:
    """A small folder like google/dreambooth, served."""
    _small(tmp_path / "original", picture)
    return serve(tmp_path / "original")


@pytest.fixture
def real(serve, tmp_path) -> Path:
    """DreamBooth's own pictures, served; skipped where there is no copy of them."""
    _real(tmp_path / "original")
    return serve(tmp_path / "original")
