"""Whose page a browser sends a request for, and by what name it came here.

Knows the headers that browsers write and no page can; refuses to know keys, and what a request wants.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.requests import Request

from playground.errors import Forbidden, shortened

READING = ("GET", "HEAD", "OPTIONS")
"""Methods that change nothing; that their answers are read by no other site's page is the browser's affair."""


class Origins:
    """Which requests may come in. `names` are the hosts, beside this machine's own, that they may be sent to; None
    where any will do, since a key or the network says who may."""

    def __init__(self, names: Collection[str] | None) -> None:
        self._names = names

    def require_own(self, request: Request) -> None:
        """Raises `Forbidden` for what another site's page sends: under its own name, so that this machine's loopback
        seems to be that site, or to change something here."""
        host = request.headers.get("host")
        if self._names is not None and host is not None and not _is_loopback(host) and _name(host) not in self._names:
            raise Forbidden(
                f"Host: {shortened(repr(host))} is not allowed: without keys this server answers to names of this "
                "machine alone; say a proxy's name in PLAYGROUND_ALLOWED_HOSTS, or create a key"
            )
        if request.method not in READING and is_foreign(request):
            raise Forbidden("Origin: a page of another site may change nothing here, and ask no model.")


def is_foreign(request: Request) -> bool:
    """Whether another site's page sends it, as far as the browser tells; programs tell nothing. Who follows a link
    from there sends it himself."""
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    if site in ("same-origin", "none"):
        return False
    if site is not None and request.method not in READING:
        return True
    # A proxy may ask under another name; no page of another site can send its header.
    own = (request.headers.get("host"), request.headers.get("x-forwarded-host"))
    return origin is not None and origin.partition("://")[2] not in own


def _is_loopback(host: str) -> bool:
    name = _name(host)
    try:
        return name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _name(host: str) -> str:
    """A Host header without its port; empty where it is none."""
    try:
        return (urlsplit(f"//{host}").hostname or "").removesuffix(".")
    except ValueError:
        return ""
