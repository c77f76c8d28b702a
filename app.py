"""The program: settings, catalog, registry, service, then page and API over it. Nothing else knows them all.

`python app.py --help` lists the flags. The page is up before torch is imported; the engine warms up behind.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

# Read by gradio when it is imported: it calls home otherwise.
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")

from starlette.middleware import Middleware

from playground.api import SecurityHeaders, routes
from playground.catalog import load_catalog
from playground.errors import ConfigurationError
from playground.registry import Registry
from playground.service import Playground
from playground.settings import Settings, read_settings
from playground.types import Engine, LoadWatch, ModelCard
from playground.ui import build_page, launch_settings

if TYPE_CHECKING:
    import gradio as gr

    from playground.local.engine import LocalLoader

LOOPBACK = ("127.0.0.1", "localhost", "::1")


class Engines:
    """Makes the engine that a base's card asks for; imports the heavy one when it is first wanted."""

    def __init__(self, max_rows: int) -> None:
        self._max_rows = max_rows
        self._local: LocalLoader | None = None
        self._importing = threading.Lock()

    def size_bytes(self, base: ModelCard, watch: LoadWatch) -> int:
        return self.local().size_bytes(base, watch)

    def load(self, base: ModelCard, watch: LoadWatch, has_room: Callable[[int], bool]) -> Engine:
        return self.local().load(base, watch, has_room)

    def local(self) -> LocalLoader:
        """The embedded engine's loader; importing torch and transformers takes seconds."""
        with self._importing:
            if self._local is None:
                from playground.local.engine import LocalLoader

                self._local = LocalLoader(max_rows=self._max_rows)
            return self._local


class App:
    """Everything that one process runs, put together and not yet listening."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.engines = Engines(settings.max_rows)
        catalog = load_catalog(settings.models_file)
        self.registry = Registry(catalog.base_of, self.engines, settings.memory_bytes)
        self.playground = Playground(catalog, self.registry, inference=settings.inference)

    def launch(self) -> tuple[gr.Blocks, str]:
        """Starts to listen; returns the page, whose `close` ends that, and its address."""
        page = build_page(self.playground)
        page.queue(default_concurrency_limit=None, api_open=False)
        _, url, _ = page.launch(
            server_name=self.settings.host,
            server_port=self.settings.port,
            prevent_thread_lock=True,
            quiet=True,
            app_kwargs={
                "routes": routes(),
                "middleware": [Middleware(SecurityHeaders)],
                "title": "Playground",
            },
            **launch_settings(),
        )
        return page, url

    def close(self) -> None:
        """Lets go of all models."""
        self.registry.close()


def main(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Runs until it is told to stop; returns the exit status."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    try:
        settings = read_settings(argv, environ)
        if settings.host not in LOOPBACK and not settings.open_to_all and "SPACE_ID" not in environ:
            raise ConfigurationError(
                [f"--host: {settings.host!r} can be reached from elsewhere: say --open if anyone may use it"]
            )
        app = App(settings)
        page, url = app.launch()
    except (ConfigurationError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    print(f"Playground is running at {url}", flush=True)
    if settings.inference:
        threading.Thread(target=app.engines.local, name="warm up", daemon=True).start()
    _wait_for_the_end()
    page.close()
    app.close()
    return 0


def _wait_for_the_end() -> None:
    done = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: done.set())
    while not done.wait(3600):
        pass


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
