"""Sign-in at the Hugging Face Hub, which nobody needs: who has not signed in stays anybody at all.

Knows the way there and back, and the cookies that are kept meanwhile and afterwards; what is said to the Hub is the
affair of `identity`. The session's cookie holds the account's name: what that may do is found out at each request.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Set
from html import escape

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from playground.api.bare_page import bare_page
from playground.api.cookies import SignedCookie
from playground.api.origins import is_foreign
from playground.errors import shortened
from playground.identity import Identity, SignInFailed
from playground.types import ANYBODY, Caller

BEGIN_PATH, BACK_PATH, OUT_PATH = "/login/huggingface", "/login/callback", "/sign-out"
MAX_AGE_SECONDS = 7 * 24 * 3600
MAX_WAY_SECONDS = 10 * 60

_FAILED = """<main>
  <h1>Playground</h1>
  <p role="alert">{problem}</p>
  <p><a href="{root}{begin}">Try again</a> · <a href="{root}/">Go on without signing in</a></p>
</main>"""
_UNKNOWN_WAY = (
    "This sign-in was not begun in this browser, or more than ten minutes ago, or it is over: it must be begun anew."
)


class HubSignIn:
    """Trades the Hub's word for a cookie, and reads the cookie back. `secret` signs it; a new one signs everybody
    out. `managers` are the accounts that may do more than ask."""

    paths = (BEGIN_PATH, BACK_PATH, OUT_PATH)

    def __init__(self, identity: Identity, managers: Set[str], secret: str) -> None:
        self._identity, self._managers = identity, managers
        self._session = SignedCookie(secret, "hub-session", "playground-hub", MAX_AGE_SECONDS)
        self._way = SignedCookie(secret, "hub-way", "playground-way", MAX_WAY_SECONDS)

    def caller(self, request: Request) -> Caller:
        """Who signed in with this browser; anybody at all where nobody did, or where another site's page asks."""
        name = None if is_foreign(request) else self._session.read(request)
        return ANYBODY if name is None else Caller(account=name, manager=name in self._managers)

    async def answer(self, path: str, request: Request) -> Response:
        """A step of the way to the Hub and back, or a sign-out."""
        if path == OUT_PATH:
            return self._signed_out(request)
        if request.method != "GET":
            return _failed(request, "To sign in, use the link on the page.", 405)
        try:
            return await (self._begun(request) if path == BEGIN_PATH else self._came_back(request))
        except SignInFailed as error:
            return self._given_up(request, error.message, error.status)

    async def _begun(self, request: Request) -> Response:
        state, verifier = secrets.token_urlsafe(32), secrets.token_urlsafe(48)
        response = _sent_to(await self._identity.address(state, verifier))
        self._way.put(request, response, [state, verifier])
        return response

    async def _came_back(self, request: Request) -> Response:
        told = request.query_params
        state, verifier = self._way.read(request) or ("", "")
        # Before anything that was told is believed or shown: somebody else may have made the address up.
        if not state or not hmac.compare_digest(state.encode(), told.get("state", "").encode()):
            return self._given_up(request, _UNKNOWN_WAY, 400)
        if "code" not in told:
            reason = ": ".join(shortened(told[key]) for key in ("error", "error_description") if key in told)
            return self._given_up(request, f"Hugging Face did not sign you in ({reason or 'no reason given'}).", 403)
        name = await self._identity.name(told["code"], verifier)
        response = _sent_to(f"{_root(request)}/")
        self._session.put(request, response, name)
        self._way.drop(request, response)
        return response

    def _given_up(self, request: Request, problem: str, status: int) -> Response:
        response = _failed(request, problem, status)
        self._way.drop(request, response)
        return response

    def _signed_out(self, request: Request) -> Response:
        """Forgets the session, where this page's own button asks for it: other sites can link and send as well."""
        if request.method != "POST" or is_foreign(request):
            return _failed(request, "To sign out, use the button on the page.", 403)
        response = _sent_to(f"{_root(request)}/")
        self._session.drop(request, response)
        return response


def _sent_to(address: str) -> Response:
    return RedirectResponse(address, 303, {"Cache-Control": "no-store"})


def _failed(request: Request, problem: str, status: int) -> Response:
    body = _FAILED.format(problem=escape(problem), root=escape(_root(request)), begin=BEGIN_PATH)
    return bare_page("Sign in", body, status)


def _root(request: Request) -> str:
    return request.scope.get("root_path", "")
