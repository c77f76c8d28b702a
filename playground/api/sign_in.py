"""Sign-in by key: a header that holds it, or a form for it and a signed cookie that stands for the key afterwards.

Knows headers and forms. The cookie holds a key's id, never the key, and says nothing by itself: whether the
key is still good is asked of the service at each request.
"""

from __future__ import annotations

from html import escape
from urllib.parse import parse_qs

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from playground.api.bare_page import bare_page
from playground.api.cookies import SignedCookie
from playground.api.origins import is_foreign
from playground.errors import InvalidKey, PlaygroundError
from playground.service import Playground
from playground.types import Caller

PATH, OUT_PATH = "/sign-in", "/sign-out"
MAX_AGE_SECONDS = 30 * 24 * 3600

_FORM = """<form method="post" action="">
  <h1>Playground</h1>
  <input name="account" autocomplete="username" hidden>
  <label for="key">API key</label>
  <input id="key" name="key" type="password" placeholder="tt_…" autocomplete="current-password" required autofocus>
  {problem}
  <button>Sign in</button>
  <p>Whoever runs this server makes keys: <code>python app.py keys create NAME</code></p>
</form>"""


class KeySignIn:
    """Trades a key for a cookie, and reads either back. `secret` signs it; a new one signs everybody out."""

    paths = (PATH, OUT_PATH)

    def __init__(self, playground: Playground, secret: str) -> None:
        self._playground = playground
        self._cookie = SignedCookie(secret, "sign-in", "playground", MAX_AGE_SECONDS)

    def caller(self, request: Request) -> Caller:
        """Who sends a key, or signed in with one in this browser; raises `InvalidKey`, `Forbidden`."""
        sent = request.headers.get("authorization")
        key_id = self._key_id(request) if sent is None else self._playground.sign_in(_key_of(sent))
        return self._playground.caller(key_id, request.headers.get("x-org-id") or None)

    async def answer(self, path: str, request: Request) -> Response:
        """The form, what came of sending it, or a sign-out."""
        if path == OUT_PATH:
            return self._signed_out(request)
        if request.method != "POST":
            return _form("", 200)
        if is_foreign(request):
            return _form("To sign in, use the form on this page.", 403)
        try:
            fields = parse_qs((await request.body()).decode("latin-1"), max_num_fields=4)
            key_id = await run_in_threadpool(self._playground.sign_in, fields.get("key", [""])[0].strip())
        except (HTTPException, ValueError):
            return _form("What was sent is no form that this page makes.", 400)
        except InvalidKey:
            return _form("This key is not valid: it may be mistyped or revoked.", 401)
        except PlaygroundError as error:
            return _form(str(error), 500)
        response = RedirectResponse("./", 303)
        self._cookie.put(request, response, key_id)
        return response

    def _key_id(self, request: Request) -> str | None:
        """The id of the key that the browser signed in with; None where it did not, or where another site's page
        sends the request."""
        key_id = None if is_foreign(request) else self._cookie.read(request)
        return None if key_id is None else str(key_id)

    def _signed_out(self, request: Request) -> Response:
        """Forgets the cookie, where this page's own button asks for it: other sites can link and send as well."""
        if request.method != "POST" or is_foreign(request):
            return _form("To sign out, use the button on the page.", 403)
        response = RedirectResponse(PATH.removeprefix("/"), 303)
        self._cookie.drop(request, response)
        return response


def _key_of(authorization: str) -> str:
    """The key, sent bare or after `Bearer`: one vendor's clients do the one, the other's the other."""
    scheme, _, rest = authorization.strip().partition(" ")
    return rest.strip() if scheme.lower() == "bearer" else authorization.strip()


def _form(problem: str, status: int) -> Response:
    shown = f'<p role="alert">{escape(problem)}</p>' if problem else ""
    return bare_page("Sign in", _FORM.format(problem=shown), status)
