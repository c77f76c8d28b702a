"""Who somebody is, by the word of the Hub: OpenID's authorization code with a proof key.

Knows the provider's three addresses; refuses to know browsers and cookies. A token lives for one question and is kept
nowhere. Sources: RFC 6749, section 4.1; RFC 7636 (the proof key, S256); OpenID Connect Core 1.0, section 5.3.
"""

from __future__ import annotations

import base64
import hashlib
from typing import Annotated, Any, TypeVar

import httpx2
from pydantic import BaseModel, StringConstraints, ValidationError

from playground.errors import PlaygroundError
from playground.space import ACCOUNT_NAME, OAuthApp

SCOPE = "openid profile"
TIMEOUT_SECONDS = 10.0
# What a refusal may be repeated of (RFC 6749, section 5.2; RFC 6750, section 3.1): the rest might hold what was sent.
_REFUSALS = frozenset(
    (
        "invalid_request",
        "invalid_client",
        "invalid_grant",
        "unauthorized_client",
        "unsupported_grant_type",
        "invalid_scope",
        "invalid_token",
        "insufficient_scope",
    )
)


class SignInFailed(PlaygroundError):
    """The provider did not say who somebody is; seen on a page of its own."""

    status = 502
    code = "sign_in_failed"


class _Endpoints(BaseModel):
    authorization_endpoint: str
    token_endpoint: str
    userinfo_endpoint: str


class _Token(BaseModel):
    access_token: str


class _User(BaseModel):
    preferred_username: Annotated[str, StringConstraints(pattern=rf"^{ACCOUNT_NAME.pattern}\z")]


class _Refusal(BaseModel):
    error: str


T = TypeVar("T", bound=BaseModel)


class Identity:
    """Asks the provider that a Space is registered with. All raise `SignInFailed`."""

    def __init__(self, app: OAuthApp) -> None:
        self._app = app

    async def address(self, state: str, verifier: str) -> str:
        """Where a browser is sent to; it comes back to the Space's redirect address with `state` and a code."""
        digest = hashlib.sha256(verifier.encode()).digest()
        asked = {
            "response_type": "code",
            "client_id": self._app.client_id,
            "redirect_uri": self._app.redirect_url,
            "scope": SCOPE,
            "state": state,
            "code_challenge": base64.urlsafe_b64encode(digest).rstrip(b"=").decode(),
            "code_challenge_method": "S256",
        }
        endpoint = (await self._endpoints()).authorization_endpoint
        return str(httpx2.URL(endpoint).copy_merge_params(asked))

    async def name(self, code: str, verifier: str) -> str:
        """The account that a code stands for; a code is good for one question."""
        endpoints = await self._endpoints()
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": self._app.redirect_url,
            "code_verifier": verifier,
        }
        client = (self._app.client_id, self._app.client_secret)
        token = await self._ask(_Token, "POST", endpoints.token_endpoint, data=form, auth=client)
        bearer = {"Authorization": f"Bearer {token.access_token}"}
        user = await self._ask(_User, "GET", endpoints.userinfo_endpoint, headers=bearer)
        return user.preferred_username

    async def _endpoints(self) -> _Endpoints:
        found = await self._ask(_Endpoints, "GET", f"{self._app.provider_url}/.well-known/openid-configuration")
        scheme = self._app.provider_url.partition("://")[0]
        # What they answer is believed because of TLS, and the secret goes there.
        if any(not url.startswith(("https://", f"{scheme}://")) for url in found.model_dump().values()):
            raise self._failed("names an address that is not https")
        return found

    async def _ask(self, shape: type[T], method: str, url: str, **more: Any) -> T:
        try:
            async with httpx2.AsyncClient(timeout=TIMEOUT_SECONDS) as client:
                reply = await client.request(method, url, **more)
        except httpx2.TimeoutException:
            raise self._failed("took too long to answer") from None
        except (httpx2.HTTPError, httpx2.InvalidURL):
            raise self._failed("cannot be reached") from None
        if reply.status_code != 200:
            raise self._failed(f"refused with {reply.status_code}{_word_of(reply)}")
        try:
            return shape.model_validate_json(reply.content)
        except ValidationError:
            # The reply may hold a token.
            raise self._failed("answered something else than was asked") from None

    def _failed(self, what: str) -> SignInFailed:
        return SignInFailed(f"{self._app.provider_url} {what}.")


def _word_of(reply: httpx2.Response) -> str:
    try:
        word = _Refusal.model_validate_json(reply.content).error
    except ValidationError:
        return ""
    return f" ({word})" if word in _REFUSALS else ""
