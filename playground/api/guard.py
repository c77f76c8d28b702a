"""Headers that keep what a model writes from reaching another host or running as a program, and other sites from
showing the page in a frame of theirs.

Plain ASGI; knows no route.
"""

from __future__ import annotations

from collections.abc import Sequence

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# Gradio's own page needs inline scripts and evaluates its templates; nothing may come from elsewhere.
POLICY = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "font-src 'self' data:",
        "connect-src 'self'",
        "frame-src 'none'",
        "object-src 'none'",
        "form-action 'self'",
    )
)


class SecurityHeaders:
    """Puts the policy on every answer of `app`. `parents` are the origins, beside its own, that may frame it."""

    def __init__(self, app: ASGIApp, *, parents: Sequence[str] = ()) -> None:
        self._app = app
        self._policy = "; ".join((POLICY, " ".join(("frame-ancestors 'self'", *parents))))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["Content-Security-Policy"] = self._policy
                headers["X-Content-Type-Options"] = "nosniff"
                headers["Referrer-Policy"] = "same-origin"
            await send(message)

        await self._app(scope, receive, send_with_headers if scope["type"] == "http" else send)
