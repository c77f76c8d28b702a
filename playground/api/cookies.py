"""Cookies that this server signed and for a while believes.

Knows browsers' rules for cookies; refuses to know what stands in one, and which requests may use it.
"""

from __future__ import annotations

import hashlib
from typing import Any, Literal

from itsdangerous import BadData, URLSafeTimedSerializer
from starlette.requests import Request
from starlette.responses import Response


class SignedCookie:
    """One cookie. `secret` signs it and `salt` says what for, so that no other cookie can stand in for it."""

    def __init__(self, secret: str, salt: str, name: str, max_age_seconds: int) -> None:
        self._signer = URLSafeTimedSerializer(secret, salt=salt)
        # Cookies know no ports: two servers on one machine must not read each other's.
        self._name = f"{name}-{hashlib.sha256(secret.encode()).hexdigest()[:8]}"
        self._max_age_seconds = max_age_seconds

    def read(self, request: Request) -> Any:
        """What was put there; None where there is nothing, or it is forged or too old."""
        try:
            return self._signer.loads(request.cookies.get(self._name, ""), max_age=self._max_age_seconds)
        except BadData:
            return None

    def put(self, request: Request, response: Response, value: Any) -> None:
        """Leaves `value`, which JSON can hold and the browser's owner may read, in the browser."""
        signed = str(self._signer.dumps(value))
        response.set_cookie(self._name, signed, max_age=self._max_age_seconds, **_kept_where(request))

    def drop(self, request: Request, response: Response) -> None:
        """Takes it out of the browser."""
        response.delete_cookie(self._name, **_kept_where(request))


def _kept_where(request: Request) -> dict[str, Any]:
    """A browser must be told the same when it takes a cookie and when it drops it."""
    secure = request.headers.get("x-forwarded-proto", request.url.scheme).split(",")[0].strip() == "https"
    # Spaces are shown in a frame of another site, where only such a cookie comes back.
    same_site: Literal["none", "lax"] = "none" if secure else "lax"
    path = request.scope.get("root_path") or "/"
    return {"path": path, "httponly": True, "secure": secure, "samesite": same_site}
