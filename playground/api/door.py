"""The one way in, for page and API alike: who is calling is found out here, once, before anything else runs.

Knows addresses and whose page asks; how somebody signs in, and what a request wants, is the affair of whoever it is
handed to.
"""

from __future__ import annotations

from typing import Protocol

from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from playground.api import sign_in
from playground.api.application import ASSETS
from playground.api.errors import MAX_BODY_BYTES, NoSuchRoute, error_response
from playground.api.library_routes import ARCHIVES_PATH
from playground.api.origins import Origins
from playground.errors import InvalidKey, PlaygroundError
from playground.library import MAX_ARCHIVE_BYTES
from playground.metrics import Metrics
from playground.service import Playground
from playground.types import ANYBODY, Caller

API_PREFIXES = ("/api", "/v1", "/text", f"{ASSETS}/", "/docs", "/openapi.json", "/healthz", "/metrics")
# Gradio asks the last of itself when it starts; there is nothing to learn from any of them.
FREE_PREFIXES = ("/healthz", "/docs", f"{ASSETS}/", "/openapi.json", "/gradio_api/startup-events")
# The page takes no files, and whatever is sent there would stay on the disk.
CLOSED_PREFIXES = ("/gradio_api/upload",)
MAX_DRAINED_BYTES = 8 * MAX_BODY_BYTES
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


class SignIn(Protocol):
    """A way to sign in, with addresses of its own."""

    @property
    def paths(self) -> tuple[str, ...]:
        """The addresses."""
        ...

    async def answer(self, path: str, request: Request) -> Response:
        """What one of `paths` answers."""
        ...

    def caller(self, request: Request) -> Caller:
        """Who asks; raises `PlaygroundError` for one who may not enter."""
        ...


class Door:
    """Goes before the page's application `app`: takes what is the API's to `api`, and lets nobody to either who
    has no key where keys are on, or whom `origins` refuses. The caller is left in the request's state."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        api: FastAPI,
        playground: Playground,
        metrics: Metrics,
        sign_in: SignIn | None,
        origins: Origins,
    ) -> None:
        self._page, self._api = app, api
        self._playground, self._metrics, self._sign_in, self._origins = playground, metrics, sign_in, origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._page(scope, receive, send)
            return
        path = _path(scope)
        if self._sign_in is not None and path in self._sign_in.paths:
            response = await self._sign_in.answer(path, Request(scope, _limited(receive)))
            await response(scope, receive, send)
        elif path.startswith(API_PREFIXES):
            await self._enter_api(path, scope, receive, send)
        else:
            await self._enter_page(path, scope, receive, send)

    async def _enter_api(self, path: str, scope: Scope, receive: Receive, send: Send) -> None:
        status = 500

        async def counted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._let_in(path, scope)
        except PlaygroundError as error:
            await error_response(error)(scope, receive, counted)
        else:
            # A proxy may have cut its path off, without which the files of the documentation are not found.
            scope["path"] = scope.get("root_path", "") + path
            limit = MAX_ARCHIVE_BYTES if path == ARCHIVES_PATH else MAX_BODY_BYTES
            await self._api(scope, _limited(receive, limit), counted)
        finally:
            route = scope.get("route")
            # Whoever makes up methods must not make up counters.
            method = scope["method"] if scope["method"] in METHODS else "other"
            self._metrics.answered(method, route.path if route is not None else "none", status)

    async def _enter_page(self, path: str, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._let_in(path, scope)
        except PlaygroundError as error:
            await _refusal(scope, error)(scope, receive, send)
        else:
            if path.startswith(CLOSED_PREFIXES):
                await error_response(NoSuchRoute(404, Request(scope)))(scope, receive, send)
            else:
                await self._page(scope, _limited(receive), _telling_of_no_route(scope, receive, send))

    async def _let_in(self, path: str, scope: Scope) -> None:
        free, request = path.startswith(FREE_PREFIXES), Request(scope)
        caller = ANYBODY if free else await run_in_threadpool(self._caller, request)
        self._origins.require_own(request)
        scope.setdefault("state", {})["caller"] = caller

    def _caller(self, request: Request) -> Caller:
        return self._sign_in.caller(request) if self._sign_in else self._playground.caller(None)


def _path(scope: Scope) -> str:
    """The address below the one that the server is reached at."""
    return scope["path"].removeprefix(scope.get("root_path", "")) or "/"


def _refusal(scope: Scope, error: PlaygroundError) -> Response:
    request = Request(scope)
    wants_page = request.method == "GET" and "text/html" in request.headers.get("accept", "")
    if isinstance(error, InvalidKey) and wants_page:
        root = scope.get("root_path", "")
        return RedirectResponse(f"{root}{sign_in.PATH}", 303)
    return error_response(error)


def _telling_of_no_route(scope: Scope, receive: Receive, send: Send) -> Send:
    """Programs that miss the API's addresses read the API's error, not the page's."""
    request = Request(scope)
    told = False

    async def tell(message: Message) -> None:
        nonlocal told
        missed = message["type"] == "http.response.start" and message["status"] == 404
        if missed and "text/html" not in request.headers.get("accept", ""):
            told = True
            await error_response(NoSuchRoute(404, request))(scope, receive, send)
        elif not told:
            await send(message)

    return tell


def _limited(receive: Receive, limit: int = MAX_BODY_BYTES) -> Receive:
    """Keeps no more of a body than is allowed."""
    num_bytes = 0

    async def read() -> Message:
        nonlocal num_bytes
        message = await receive()
        num_bytes += len(message.get("body", b""))
        if num_bytes > limit:
            await _drain(receive, message)
            raise HTTPException(413)
        return message

    return read


async def _drain(receive: Receive, message: Message) -> None:
    """Reads on for a while, keeping nothing: who is still sending would only see the connection break."""
    num_bytes = 0
    while message.get("more_body", False) and num_bytes < MAX_DRAINED_BYTES:
        message = await receive()
        num_bytes += len(message.get("body", b""))
