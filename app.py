"""The program: settings, catalog, registry, service, then page and API over it. Nothing else knows them all.

`python app.py --help` lists the flags. The page is up before torch is imported; the engine warms up behind.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

if __name__ == "__main__":
    # From the first moment on Ctrl-C ends it without a stack trace, imports and migrations included.
    signal.signal(signal.SIGINT, lambda *_: sys.exit(130))

from playground import space

# Read by gradio when it is imported: it calls home otherwise.
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.update(space.variables(os.environ))
if space.has_zero_gpu(os.environ):
    # It puts itself before torch's own functions, so it must come before whatever imports torch.
    importlib.import_module("spaces")

from playground import commands, evaluate_command, merge_command
from playground.accounts import Accounts
from playground.catalog import LiveCatalog
from playground.errors import ConfigurationError, PlaygroundError
from playground.evaluator import Evaluator
from playground.history import History
from playground.identity import Identity
from playground.library import Adding, Library
from playground.metrics import Metrics
from playground.registry import Registry
from playground.service import Playground
from playground.settings import Settings, build_parser, settings_from
from playground.store import Store
from playground.types import ANYBODY, Caller, Engine, EngineLoader, LoadWatch, ModelCard

if TYPE_CHECKING:
    import gradio as gr

    from playground.api.door import SignIn
    from playground.local.engine import LocalLoader

log = logging.getLogger("playground")

ADDED_FILE = "models.yaml"
KERNELS_FOLDER = "kernels"
LOOPBACK = ("127.0.0.1", "localhost", "::1")
FORGETS = (
    "this Space has no persistent storage: runs, votes, evaluations, keys and fetched weights are lost at its restart "
    "(the home is %s; storage is kept under /data)"
)


class Engines:
    """Makes the engine that a base's card asks for; imports each when it is first wanted. Keys of other servers are
    read in `environ`."""

    def __init__(self, settings: Settings, environ: Mapping[str, str]) -> None:
        self._settings, self._environ = settings, environ
        self._local: EngineLoader | None = None
        self._importing = threading.Lock()

    def size_bytes(self, base: ModelCard, watch: LoadWatch) -> int:
        return 0 if base.is_remote else self.local().size_bytes(base, watch)

    def device_of(self, base: ModelCard) -> str | None:
        """What only torch knows is not known until something else has had it imported."""
        return None if base.is_remote or self._local is None else self._local.device_of(base)

    def load(self, base: ModelCard, watch: LoadWatch, has_room: Callable[[int], bool]) -> Engine:
        if base.is_remote:
            # OpenAI's SDK takes a second to import, and most catalogs need none of it.
            from playground.remote import RemoteEngine

            return RemoteEngine(base, self._environ)
        return self.local().load(base, watch, has_room)

    def local(self) -> EngineLoader:
        """The embedded engine's loader; importing torch and transformers takes seconds."""
        with self._importing:
            if self._local is None:
                self._local = self._lent() if self._settings.zero_gpu else self._own(self._settings.kernels)
            return self._local

    def _own(self, kernels: bool) -> LocalLoader:
        from playground.local.engine import LocalLoader
        from playground.local.steppers import Steppers

        steppers = Steppers(kernels=kernels, folder=self._settings.home / KERNELS_FOLDER)
        prompt_bytes = self._settings.prompt_cache_bytes
        return LocalLoader(steppers, max_rows=self._settings.max_rows, prompt_bytes=prompt_bytes)

    def _lent(self) -> EngineLoader:
        from playground.local.zero_gpu import ZeroGpuLoader

        return ZeroGpuLoader(self._own(kernels=False), importlib.import_module("spaces").GPU)


class App:
    """Everything that one process runs, put together and not yet listening."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.engines = Engines(settings, os.environ)
        catalog = LiveCatalog(settings.models_file, settings.home / ADDED_FILE)
        self.registry = Registry(catalog.base_of, self.engines, settings.memory_bytes)
        catalog.when_gone(self.registry.forget)
        history = History(Store(settings.home), keeps_runs=settings.history)
        self.accounts = _accounts_in_force(settings)
        self.metrics = Metrics(self.registry.used_bytes, settings.memory_bytes)
        self.playground = Playground(
            catalog,
            self.registry,
            history,
            inference=settings.inference,
            accounts=self.accounts,
            default_caller=_default_caller(settings),
            meter=self.metrics,
        )
        self.library = Library(self.playground, self.registry, Adding(catalog, settings.home), settings.memory_bytes)
        # Two places stay for people who ask something meanwhile.
        num_at_once = max(1, settings.max_rows - 2)
        self.evaluator = Evaluator(self.playground, history, settings.home, num_at_once)

    def launch(self) -> tuple[gr.Blocks, str]:
        """Starts to listen; returns the page, whose `close` ends that, and its address."""
        # Imported here, so that commands that serve nothing need not wait for gradio.
        from starlette.middleware import Middleware

        from playground.api import Door, Origins, SecurityHeaders, build_api
        from playground.ui import build_page, launch_settings

        if self.settings.zero_gpu:
            # A Space must have said that it wants a GPU lent before its page is up.
            self.engines.local()
        door = Middleware(
            Door,
            api=build_api(self.playground, self.evaluator, self.library, self.metrics),
            playground=self.playground,
            metrics=self.metrics,
            sign_in=self._sign_in(),
            origins=Origins(self._names()),
        )
        page = build_page(self.playground, hub_sign_in=self.settings.oauth is not None)
        # With no size given Gradio lets one event wait on ZeroGPU; how many answers may wait is the service's affair.
        page.queue(default_concurrency_limit=None, api_open=False, max_size=sys.maxsize)
        _, url, _ = page.launch(
            server_name=self.settings.host,
            server_port=self.settings.port,
            root_path=self.settings.root_path,
            prevent_thread_lock=True,
            quiet=True,
            app_kwargs={"middleware": [Middleware(SecurityHeaders, parents=self._parents()), door]},
            **launch_settings(),
        )
        return page, url

    def _names(self) -> tuple[str, ...] | None:
        """The names that the server answers to, where whoever reaches it may do everything."""
        alone = self.playground.default_caller.everything and not self.playground.keys_on
        return self.settings.allowed_hosts if alone else None

    def _sign_in(self) -> SignIn | None:
        """The one way to sign in. Where keys are on it is by key alone, so that nobody's name on the Hub is taken for a
        key's account."""
        from playground.api import HubSignIn, KeySignIn

        if self.accounts:
            return KeySignIn(self.playground, self.accounts.cookie_secret())
        if self.settings.oauth is None:
            return None
        # Without storage a secret of the program's own would sign everybody out at each restart.
        secret = hashlib.sha256(f"cookies {self.settings.oauth.client_secret}".encode()).hexdigest()
        return HubSignIn(Identity(self.settings.oauth), self.settings.managers, secret)

    def _parents(self) -> tuple[str, ...]:
        """The sites that may show the page in a frame."""
        return space.PARENT_SITES if self.settings.on_space else ()

    def close(self) -> None:
        """Halts evaluations, which go on at the next start, and lets go of all models."""
        self.evaluator.close()
        self.registry.close()


def _accounts_in_force(settings: Settings) -> Accounts | None:
    """The accounts, where keys are on: that is where a key was ever made."""
    accounts = Accounts.at(settings.home)
    return accounts if accounts is not None and accounts.any_key() else None


def _default_caller(settings: Settings) -> Caller:
    """Who everybody is while keys are off. On a Space even loopback is reached from elsewhere, by its proxy."""
    alone = settings.host in LOOPBACK and not settings.on_space
    return Caller(everything=True) if alone else ANYBODY


def _refuse_an_open_door(settings: Settings, keys_on: bool) -> None:
    if settings.host in LOOPBACK or settings.on_space or settings.open_to_all or keys_on:
        return
    raise ConfigurationError(
        [
            f"--host: {settings.host!r} can be reached from elsewhere, and {settings.home} has no keys: create one "
            "with `python app.py keys create NAME`, or say --open if anyone may use it"
        ]
    )


def main(argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Runs until it is told to stop, or does one command; returns the exit status."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    parser = build_parser()
    commands.add_to(parser)
    args = parser.parse_args(argv)
    try:
        if args.command not in (None, evaluate_command.NAME, merge_command.NAME):
            commands.run(args, environ)
            return 0
        settings = settings_from(args, environ)
        if args.command == evaluate_command.NAME:
            return _evaluated(App(settings), args)
        if args.command == merge_command.NAME:
            return _merged(App(settings), args)
        _refuse_an_open_door(settings, _accounts_in_force(settings) is not None)
        app = App(settings)
        page, url = app.launch()
    except (PlaygroundError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    if settings.forgets:
        log.warning(FORGETS, settings.home)
    print(f"Playground is running at {url}", flush=True)
    app.evaluator.resume_interrupted()
    if settings.inference:
        threading.Thread(target=app.engines.local, name="warm up", daemon=True).start()
    _wait_for_the_end()
    page.close()
    app.close()
    return 0


def _evaluated(app: App, args: argparse.Namespace) -> int:
    # What runs is paused first.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return evaluate_command.run(args, app.evaluator)
    except KeyboardInterrupt:
        return evaluate_command.INTERRUPTED
    finally:
        with evaluate_command.unbroken():
            app.close()


def _merged(app: App, args: argparse.Namespace) -> int:
    try:
        return merge_command.run(args, app.playground)
    finally:
        app.close()


def _wait_for_the_end() -> None:
    done = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: done.set())
    while not done.wait(3600):
        pass


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
