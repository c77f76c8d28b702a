"""A Hub on loopback that speaks enough of the real one's API for its client, and that breaks where a test wants."""

from __future__ import annotations

import contextlib
import hashlib
import json
import struct
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from playground.errors import Cancelled

COMMIT = "a" * 40


def safetensors(num_bytes: int = 8) -> bytes:
    header = json.dumps({"w": {"dtype": "U8", "shape": [num_bytes], "data_offsets": [0, num_bytes]}}).encode()
    return struct.pack("<Q", len(header)) + header + bytes(num_bytes)


MODEL = {
    "config.json": b"{}",
    "tokenizer.json": b'{"a": 1}',
    "merges.txt": b"a b\n",
    "chat_template.jinja": b"{{ messages }}",
    "model.safetensors": safetensors(200_000),
    # never to be fetched:
    "pytorch_model.bin": b"pickle",
    "modeling.py": b"print()",
    "README.md": b"# read",
    "consolidated.safetensors": safetensors(100),
    "original/config.json": b"{}",
}


class SmallHub(ThreadingHTTPServer):
    """Serves one repo, org/model, at one commit; an unset `gate` holds weights back half-way, or the one named `held`.

    Weights are cut half-way `num_cuts` times; with `down_after_cut` it is down from then on. `ranges` are what was
    asked of each file of weights. Of no file more than `most` bytes are sent.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files = dict(MODEL)
        self.asked: list[str] = []
        self.api_error: tuple[int, str] | None = None
        self.file_error: tuple[int, str] | None = None
        self.held: str | None = None
        self.num_cuts = 0
        self.most = 10**9
        self.down_after_cut = False
        self.knows_ranges = True
        self.ranges: list[str | None] = []
        self.gate = threading.Event()
        self.gate.set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: SmallHub  # type: ignore[assignment]

    def log_message(self, format, *args):
        pass

    def do_HEAD(self):
        self.answer(with_body=False)

    def do_GET(self):
        self.answer(with_body=True)

    def answer(self, with_body):
        path = urlsplit(self.path).path
        if path.startswith("/api/models/"):
            self.answer_api(path.removeprefix("/api/models/"))
        else:
            self.answer_file(path, with_body)

    def answer_api(self, path):
        files = self.server.files
        if self.server.api_error:
            self.refuse(*self.server.api_error)
        elif path in ("org/model", "org/model/revision/main", f"org/model/revision/{COMMIT}"):
            siblings = [{"rfilename": name, "size": len(data)} for name, data in files.items()]
            self.send(json.dumps({"id": "org/model", "sha": COMMIT, "siblings": siblings}).encode())
        elif path == f"org/model/tree/{COMMIT}":
            tree = [
                {"type": "file", "path": name, "size": len(data), "oid": etag(name, data)}
                for name, data in files.items()
            ]
            self.send(json.dumps(tree).encode())
        elif path.startswith("org/model/revision/"):
            self.refuse(404, "RevisionNotFound")
        else:
            self.refuse(401 if path.startswith("no/") else 404, "RepoNotFound")

    def answer_file(self, path, with_body):
        name = path.removeprefix(f"/org/model/resolve/{COMMIT}/")
        if self.server.file_error:
            return self.refuse(*self.server.file_error)
        data = self.server.files[name]
        wanted, whole = self.headers.get("Range"), len(data)
        data = data[: self.server.most] if with_body else data
        ranged = wanted is not None and self.server.knows_ranges
        first, _, last = (wanted or "").removeprefix("bytes=").partition("-") if ranged else ("0", "-", "")
        first, data = int(first), data[: int(last) + 1] if last else data
        self.send_response(206 if ranged else 200)
        if ranged:
            self.send_header("Content-Range", f"bytes {first}-{len(data) - 1}/{whole}")
        self.send_header("ETag", f'"{etag(name, self.server.files[name])}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Content-Length", str(len(data) - first))
        self.end_headers()
        if with_body:
            self.server.asked.append(name)
            if name.endswith(".safetensors") or name == self.server.held:
                self.server.ranges.append(wanted)
                self.send_weights(name, data[first:])
            else:
                self.wfile.write(data)

    def send_weights(self, name, data):
        half = len(data) // 2
        try:
            self.wfile.write(data[:half])
            if self.server.num_cuts:
                self.server.num_cuts -= 1
                self.server.file_error = (503, "") if self.server.down_after_cut else None
                self.close_connection = True
                return
            if self.server.held in (None, name):
                self.server.gate.wait(20)
            self.wfile.write(data[half:])
        except OSError:
            self.close_connection = True

    def send(self, body):
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def refuse(self, status, code):
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("X-Error-Message", code)
        self.send_header("Content-Length", "0")
        self.end_headers()


def etag(name: str, data: bytes) -> str:
    """Weights are named by their SHA-256, as the Hub does with large files."""
    return (hashlib.sha256 if name.endswith(".safetensors") else hashlib.sha1)(data).hexdigest()


@contextlib.contextmanager
def small_hub() -> Iterator[SmallHub]:
    """One that answers until the block ends."""
    hub = SmallHub()
    thread = threading.Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield hub
    finally:
        hub.gate.set()
        hub.shutdown()
        hub.server_close()
        thread.join()


class Watch:
    """Keeps what was reported; says at the nth report that nobody waits any longer."""

    def __init__(self, patience=10**9):
        self.reports = []
        self.patience = patience

    def report(self, progress):
        self.reports.append(progress)
        if len(self.reports) >= self.patience:
            raise Cancelled("nobody waits")
