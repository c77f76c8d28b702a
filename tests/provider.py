"""A stand-in for the Hub as whoever signs people in: OpenID on loopback, as strict as the Hub where it matters, and the
proxy before a Space, since it sends browsers back to the program itself."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlencode, urlsplit

CLIENT_ID, SECRET = "space-app", "oauth_app_secret_never_shown"
HOST = "me-playground.hf.space"
REDIRECT = f"https://{HOST}/login/callback"


@dataclass
class Provider:
    """What it knows and does. `user` signs in next; `denies` is what it says instead; `back_to` is the program's
    address; `says` are replies in place of its own, by path."""

    user: str = "ada"
    denies: dict[str, str] | None = None
    back_to: str = ""
    url: str = ""
    says: dict[str, tuple[int, object]] = field(default_factory=dict)
    codes: dict[str, tuple[str, str]] = field(default_factory=dict)
    tokens: dict[str, str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    gave: list[str] = field(default_factory=list)

    def variables(self) -> dict[str, str]:
        """What a Space's environment says of it."""
        return {
            "SPACE_ID": "me/playground",
            "SPACE_HOST": HOST,
            "SPACE_AUTHOR_NAME": "me",
            "OAUTH_CLIENT_ID": CLIENT_ID,
            "OAUTH_CLIENT_SECRET": SECRET,
            "OAUTH_SCOPES": "openid profile",
            "OPENID_PROVIDER_URL": self.url,
        }

    def authorized(self, query: dict[str, str]) -> str:
        """Where the browser goes next."""
        assert (query["response_type"], query["client_id"], query["redirect_uri"]) == ("code", CLIENT_ID, REDIRECT)
        assert (query["scope"], query["code_challenge_method"]) == ("openid profile", "S256")
        assert len(query["state"]) >= 32
        told = {"state": query["state"], **(self.denies or {"code": self._new(self.codes, query["code_challenge"])})}
        return f"{self.back_to}/login/callback?{urlencode(told)}"

    def token(self, form: dict[str, str], authorization: str) -> tuple[int, object]:
        """A token for a code, which is good once."""
        if authorization != f"Basic {base64.b64encode(f'{CLIENT_ID}:{SECRET}'.encode()).decode()}":
            return 401, {"error": "invalid_client"}
        user, challenge = self.codes.pop(form["code"], ("", ""))
        digest = hashlib.sha256(form["code_verifier"].encode()).digest()
        proved = base64.urlsafe_b64encode(digest).rstrip(b"=").decode() == challenge
        if not (user and proved and form["redirect_uri"] == REDIRECT and form["grant_type"] == "authorization_code"):
            return 400, {"error": "invalid_grant", "error_description": f"no such code: {form['code']}"}
        return 200, {"access_token": self._new(self.tokens, "", user), "token_type": "bearer"}

    def _new(self, kept: dict, about: str, user: str = "") -> str:
        new = secrets.token_urlsafe(24)
        kept[new] = (self.user, about) if kept is self.codes else user
        self.gave.append(new)
        return new


@contextmanager
def providing() -> Iterator[Provider]:
    """The provider, until the block ends."""
    provider = Provider()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

        def do_GET(self) -> None:
            url = urlsplit(self.path)
            provider.asked.append(url.path)
            if url.path in provider.says:
                self._reply(*provider.says[url.path])
            elif url.path == "/.well-known/openid-configuration":
                names = {"authorization": "authorize", "token": "token", "userinfo": "userinfo"}
                self._reply(200, {f"{name}_endpoint": f"{provider.url}/oauth/{last}" for name, last in names.items()})
            elif url.path == "/oauth/authorize":
                query = {name: values[0] for name, values in parse_qs(url.query).items()}
                self.send_response(303)
                self.send_header("Location", provider.authorized(query))
                self.end_headers()
            else:
                token = self.headers["Authorization"].removeprefix("Bearer ")
                user = provider.tokens.get(token)
                self._reply(*((200, {"sub": "1", "preferred_username": user}) if user else (401, {})))

        def do_POST(self) -> None:
            provider.asked.append(self.path)
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            form = {name: values[0] for name, values in parse_qs(body).items()}
            reply = provider.token(form, self.headers.get("Authorization", ""))
            self._reply(*provider.says.get(self.path, reply))

        def _reply(self, status: int, body: object) -> None:
            text = body if isinstance(body, str) else json.dumps(body)
            self.send_response(status)
            self.end_headers()
            self.wfile.write(text.encode())

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    provider.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield provider
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
