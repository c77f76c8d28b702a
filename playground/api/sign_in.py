"""The page's sign-in: a form for a key, and a signed cookie that stands for the key afterwards.

Knows forms and cookies. The cookie holds a key's id, never the key, and says nothing by itself: whether the
key is still good is asked of the service at each request.
"""

from __future__ import annotations

import hashlib
from html import escape
from urllib.parse import parse_qs

from itsdangerous import BadData, URLSafeTimedSerializer
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from playground.api.origins import is_foreign
from playground.errors import InvalidKey, PlaygroundError
from playground.service import Playground

PATH, OUT_PATH = "/sign-in", "/sign-out"
MAX_AGE_SECONDS = 30 * 24 * 3600

_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,">
<title>Sign in · Playground</title>
<style>
  body {{ margin: 0; min-height: 100vh; display: grid; place-items: center; font: 16px/1.5 system-ui, sans-serif;
         background: light-dark(#fafafa, #18181b); color: light-dark(#18181b, #fafafa); }}
  form {{ width: min(22rem, calc(100vw - 3rem)); display: grid; gap: .75rem; }}
  h1 {{ font-size: 1.375rem; margin: 0; }}
  p {{ margin: 0; color: light-dark(#52525b, #a1a1aa); font-size: .875rem; }}
  input, button {{ font: inherit; padding: .6rem .75rem; border-radius: 6px; box-sizing: border-box; width: 100%; }}
  input {{ border: 1px solid light-dark(#d4d4d8, #3f3f46); background: light-dark(#fff, #27272a); color: inherit; }}
  button {{ border: 0; background: #4f46e5; color: #fff; cursor: pointer; }}
  code {{ display: block; }}
  [role=alert] {{ color: light-dark(#b91c1c, #fca5a5); }}
</style>
<form method="post" action="">
  <h1>Playground</h1>
  <input name="account" autocomplete="username" hidden>
  <label for="key">API key</label>
  <input id="key" name="key" type="password" placeholder="tt_…" autocomplete="current-password" required autofocus>
  {problem}
  <button>Sign in</button>
  <p>Whoever runs this server makes keys: <code>python app.py keys create NAME</code></p>
</form>
</html>
"""


class SignIn:
    """Trades a key for a cookie, and reads the cookie back. `secret` signs it; a new one signs everybody out."""

    def __init__(self, playground: Playground, secret: str) -> None:
        self._playground = playground
        self._signer = URLSafeTimedSerializer(secret, salt="sign-in")
        # Cookies know no ports: two servers on one machine must not read each other's.
        self._cookie = "playground-" + hashlib.sha256(secret.encode()).hexdigest()[:8]

    def key_id(self, request: Request) -> str | None:
        """The id of the key that the browser signed in with; None where it did not, or where another site's page
        sends the request."""
        cookie = request.cookies.get(self._cookie)
        if cookie is None or is_foreign(request):
            return None
        try:
            return str(self._signer.loads(cookie, max_age=MAX_AGE_SECONDS))
        except BadData:
            return None

    async def answer(self, request: Request) -> Response:
        """The form, or what came of sending it."""
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
        secure = _is_secure(request)
        response.set_cookie(
            self._cookie,
            str(self._signer.dumps(key_id)),
            max_age=MAX_AGE_SECONDS,
            path=request.scope.get("root_path") or "/",
            httponly=True,
            secure=secure,
            # Spaces are shown in a frame of another site, where only such a cookie comes back.
            samesite="none" if secure else "lax",
        )
        return response

    def sign_out(self, request: Request) -> Response:
        """Forgets the cookie, where this page's own button asks for it: other sites can link and send as well."""
        if request.method != "POST" or is_foreign(request):
            return _form("To sign out, use the button on the page.", 403)
        response = RedirectResponse(PATH.removeprefix("/"), 303)
        response.delete_cookie(self._cookie, path=request.scope.get("root_path") or "/")
        return response


def _form(problem: str, status: int) -> Response:
    shown = f'<p role="alert">{escape(problem)}</p>' if problem else ""
    return HTMLResponse(_PAGE.format(problem=shown), status, {"Cache-Control": "no-store"})


def _is_secure(request: Request) -> bool:
    return request.headers.get("x-forwarded-proto", request.url.scheme) == "https"
