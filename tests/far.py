"""A scripted server on loopback that behaves as badly as a test wants: plain sockets, so that it can break off
anywhere, and knows when whoever asked has hung up; and the engines that ask it."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from playground.remote import Limits, RemoteEngine
from playground.types import GenerationRequest, Message, ModelCard
from tests.drive import PATIENCE, Running, free_port, start

END = "data: [DONE]\n\n"
QUESTION = (Message("user", "Hi"),)
LIMITS = Limits(connect=2, first_token=PATIENCE, next_token=PATIENCE, tail=0.2)


@dataclass
class Asked:
    """One request that came, and the connection on which it is answered."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any
    connection: socket.socket

    def send(self, text: str | bytes) -> None:
        self.connection.sendall(text.encode() if isinstance(text, str) else text)

    def reply(self, status: int, body: Any, kind: str = "application/json", **headers: str) -> None:
        """A whole answer."""
        text = body if isinstance(body, str) else json.dumps(body)
        told = {"Content-Type": kind, "Content-Length": str(len(text.encode())), "Connection": "close", **headers}
        lines = [f"HTTP/1.1 {status} So", *(f"{name.replace('_', '-')}: {value}" for name, value in told.items())]
        self.send("\r\n".join(lines) + "\r\n\r\n" + text)

    def begin(self, kind: str = "text/event-stream") -> None:
        """A stream's head; it ends where the connection does."""
        self.send(f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nConnection: close\r\n\r\n")

    def begin_chunked(self) -> None:
        """A stream that says where it ends, so that a connection that breaks before is known to have broken."""
        self.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")

    def chunked(self, text: str) -> None:
        self.send(f"{len(text.encode()):x}\r\n{text}\r\n")

    def send_until_hung_up(self, text: str) -> None:
        """The same over and over, until the other side has closed the connection."""
        raw = text.encode()
        with suppress(BrokenPipeError, ConnectionResetError):
            while True:
                self.send(raw)

    def wait_until_hung_up(self) -> None:
        """Returns once the other side has closed the connection."""
        self.connection.settimeout(PATIENCE)
        assert self.connection.recv(1) == b""


Script = Callable[[Asked], None]


def said(text: str | None = None, finish: str | None = None, **more: Any) -> str:
    """One chunk of a chat."""
    delta = {} if text is None else {"content": text}
    choice = {"index": 0, "delta": delta, "finish_reason": finish, **more}
    return event({"id": "1", "object": "chat.completion.chunk", "model": "m", "choices": [choice]})


def used(num_prompt: int, num_completion: int) -> str:
    """The last chunk, with the usage."""
    usage = {"prompt_tokens": num_prompt, "completion_tokens": num_completion, "total_tokens": 0}
    return event({"id": "1", "object": "chat.completion.chunk", "model": "m", "choices": [], "usage": usage})


def event(value: Any) -> str:
    return f"data: {json.dumps(value)}\n\n"


def streams(*parts: str):
    """A script that sends these parts, then hangs up."""

    def script(asked: Asked) -> None:
        asked.begin()
        for part in parts:
            asked.send(part)

    return script


@dataclass
class Far:
    """The server. `models` is what it lists (None: no such route); `scripts` answer the questions in turn, the last
    one all that come after."""

    port: int
    models: list[str] | None = field(default_factory=lambda: ["m"])
    scripts: list[Script] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    failures: list[BaseException] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def answer(self, *scripts: Script) -> None:
        self.scripts = list(scripts)

    def handle(self, connection: socket.socket) -> None:
        try:
            with connection:
                while (asked := _read(connection)) is not None and self._reply(asked):
                    pass
        except (BrokenPipeError, ConnectionResetError):
            pass
        except BaseException as failure:  # noqa: BLE001 - told at the end of the test
            self.failures.append(failure)

    def _reply(self, asked: Asked) -> bool:
        if asked.path == "/v1/models":
            listed = None if self.models is None else {"data": [{"id": name} for name in self.models]}
            asked.reply(*((404, {"detail": "Not Found"}) if listed is None else (200, listed)))
            return False
        self.asked.append(asked)
        script = self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0]
        script(asked)
        return False


def _read(connection: socket.socket) -> Asked | None:
    """The next request; None where the connection was closed instead."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = connection.recv(65536)
        if not more:
            return None
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    while len(body) < int(headers.get("content-length", 0)):
        body += connection.recv(65536)
    method, path, _ = first.split(" ")
    return Asked(method, path, headers, json.loads(body) if body else None, connection)


@contextmanager
def far_server() -> Iterator[Far]:
    """A server until the block ends; what a script found wrong is raised then."""
    far = Far(free_port())
    listener = socket.create_server(("127.0.0.1", far.port))
    threads: list[threading.Thread] = []

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threads.append(threading.Thread(target=far.handle, args=(connection,), daemon=True))
            threads[-1].start()

    accepting = threading.Thread(target=accept, daemon=True)
    accepting.start()
    yield far
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    accepting.join(PATIENCE)
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive(), "a script still waits"
    assert far.failures == []


class House:
    """Engines over one scripted server, closed at the end."""

    def __init__(self, far: Far) -> None:
        self.far = far
        self.card = ModelCard("m", "m", "base", "m", endpoint=far.url)
        self._engines: list[RemoteEngine] = []

    def engine(self, limits: Limits = LIMITS, card: ModelCard | None = None, **environ: str) -> RemoteEngine:
        self._engines.append(RemoteEngine(card or self.card, environ, limits))
        return self._engines[-1]

    def ask(self, engine: RemoteEngine | None = None, **settings) -> Running:
        asked = {"messages": QUESTION} if "prompt" not in settings else {}
        return start(engine or self.engine(), self.card, GenerationRequest("m", **asked, **settings))

    def close(self) -> None:
        for engine in self._engines:
            engine.close()
