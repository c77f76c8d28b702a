"""The real program in this process, on a port of its own: real tiny models, real HTTP."""

from __future__ import annotations

import contextlib
import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import app as program
from playground.settings import read_settings
from tests import tiny
from tests.drive import free_port

ROOT = Path(__file__).parent.parent
PATIENCE = 60.0
LLAMA, TUNED, OWNED, THINKER, PLAIN = "tiny/llama", "tiny/tuned", "tiny/owned", "tiny/thinker", "tiny/plain"
DEMO, JSON = "playground/shop-demo", "playground/shop-json"
OWNER = "acme"
MODELS = f"""
models:
  - {{id: {LLAMA}, path: llama, context_length: 256}}
  - {{id: {TUNED}, base_model: {LLAMA}, adapter: tuned}}
  - {{id: {OWNED}, base_model: {LLAMA}, adapter: owned, owner: {OWNER}}}
  - {{id: {THINKER}, path: thinker}}
  - {{id: {PLAIN}, path: plain}}
  - {{id: {DEMO}, path: {ROOT}/demo/base, context_length: 512, dtype: float32}}
  - {{id: {JSON}, base_model: {DEMO}, adapter: {ROOT}/demo/adapters/shop-json}}
"""


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    def error(self) -> dict[str, Any]:
        """The one error body, checked for its shape."""
        detail = self.json()["error"]
        assert self.json().keys() == {"error"}
        assert detail.keys() == {"code", "message", "type", "param"}
        return detail


@dataclass(frozen=True, slots=True)
class Server:
    """A running program."""

    url: str
    app: program.App
    home: Path

    def get(self, path: str, **headers: str) -> Reply:
        return self.send("GET", path, None, headers)

    def post(self, path: str, body: Any, **headers: str) -> Reply:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.send("POST", path, data, {"Content-Type": "application/json", **headers})

    def loop(self, base: str) -> Any:
        """The loop that answers for a base, which is loaded for it."""
        assert self.post("/v1/completions", {"model": base, "prompt": "x", "max_tokens": 1}).status == 200
        engine: Any
        (engine,) = [slot.engine for slot in self.app.registry._slots.values() if slot.engine and slot.base.id == base]
        return engine._loop

    def send(self, method: str, path: str, data: bytes | None, headers: dict[str, str]) -> Reply:
        """`headers` are named as Python can: X_Org_Id for X-Org-Id."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(self.url + path, data, named, method=method)
        try:
            with urllib.request.build_opener(_NoRedirects).open(request, timeout=PATIENCE) as answer:
                return _reply(answer)
        except urllib.error.HTTPError as error:
            with error:
                return _reply(error)


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, req: Any, fp: Any, code: Any, msg: Any, headers: Any, newurl: Any) -> None:
        return None


def _reply(answer: Any) -> Reply:
    headers = {name.lower(): ", ".join(answer.headers.get_all(name)) for name in answer.headers}
    return Reply(answer.status, headers, answer.read())


def save_models(folder: Path) -> Path:
    """A catalog of real tiny models: a base with two fine-tunes (one has an owner), one that thinks, one without a
    chat template, and the demo."""
    base = tiny.save_base("llama", folder / "llama")
    tiny.save_adapter("llama", base, folder / "tuned", seed=1)
    tiny.save_adapter("llama", base, folder / "owned", seed=2)
    tiny.save_base("llama", folder / "thinker", template=tiny.THINKING_TEMPLATE)
    tiny.save_base("llama", folder / "plain", template=None)
    file = folder / "models.yaml"
    file.write_text(MODELS)
    return file


@contextlib.contextmanager
def serving(models: Path, home: Path, *args: str, **environ: str) -> Iterator[Server]:
    """The program over a catalog, until the block ends."""
    argv = ["--models", str(models), "--home", str(home), "--port", str(free_port()), *args]
    # Compiling kernels takes every process some seconds, and what one test asked, another must find unread: whoever
    # wants to test either says so.
    off = {"PLAYGROUND_KERNELS": "off", "PLAYGROUND_PROMPT_CACHE_GB": "0"}
    app = program.App(read_settings(argv, {**off, **environ}))
    page, url = app.launch()
    try:
        yield Server(url.rstrip("/"), app, home)
    finally:
        page.close()
        app.close()
