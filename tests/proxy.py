"""A small reverse proxy on loopback that serves a program below a path, as nginx and Caddy do."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from urllib.parse import urlsplit

PREFIX = "/play"
HOST = "127.0.0.1"
PATIENCE = 60.0


@dataclass
class Proxy:
    """`url` is where it is reached; `strays` are the paths outside the prefix that somebody asked for. With `strips`
    the program is asked without the prefix."""

    program: str
    strips: bool = True
    strays: list[str] = field(default_factory=list)
    url: str = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            asked = head.split(" ", 2)[1]
            if not asked.startswith(f"{PREFIX}/"):
                # A browser asks for the icon of the host before it has read the page's own link.
                if asked != "/favicon.ico":
                    self.strays.append(asked)
                writer.write(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
            else:
                await self._pass_on(head, reader, writer)
        writer.close()

    async def _pass_on(self, head: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        behind, ahead = await asyncio.open_connection(HOST, urlsplit(self.program).port)
        ahead.write(self._rewritten(head).encode("latin-1"))
        up = asyncio.create_task(_pump(reader, ahead))
        await _pump(behind, writer)
        up.cancel()
        ahead.close()

    def _rewritten(self, head: str) -> str:
        """The request as the program gets it: under its own name, told of the name that the browser used."""
        first, *rest = head.removesuffix("\r\n\r\n").split("\r\n")
        if self.strips:
            first = first.replace(f" {PREFIX}/", " /", 1)
        kept = [line for line in rest if not line.lower().startswith(("host:", "connection:"))]
        named = f"Host: {urlsplit(self.program).netloc}"
        told = (f"X-Forwarded-Host: {urlsplit(self.url).netloc}", "X-Forwarded-Proto: http", "Connection: close")
        return "\r\n".join((first, named, *told, *kept)) + "\r\n\r\n"


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await source.read(65536):
            sink.write(data)
            await sink.drain()


@contextlib.contextmanager
def proxying(program: str, *, strips: bool = True) -> Iterator[Proxy]:
    """A proxy before the program at an address, until the block ends. In a thread: a browser's loop has this one."""
    proxy = Proxy(program, strips)
    listening: Future[Callable[[], None]] = Future()

    async def run() -> None:
        server = await asyncio.start_server(proxy.serve, HOST, 0)
        proxy.url = f"http://{HOST}:{server.sockets[0].getsockname()[1]}{PREFIX}/"
        ended = asyncio.Event()
        loop = asyncio.get_running_loop()
        listening.set_result(lambda: loop.call_soon_threadsafe(ended.set) and None)
        await ended.wait()
        server.close()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    thread = threading.Thread(target=asyncio.run, args=(run(),), name="proxy", daemon=True)
    thread.start()
    end = listening.result(PATIENCE)
    try:
        yield proxy
    finally:
        end()
        thread.join(PATIENCE)
