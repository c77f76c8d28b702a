"""Who is calling, as a route sees it.

The door has found that out already and left it in the request's state; here it is documented and handed over.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Header, Request, Security
from fastapi.security import HTTPBearer

from playground.types import Caller

_KEY = HTTPBearer(auto_error=False, description="A key such as tt_…, where keys are on; sent bare, it is taken too.")


def _current_caller(
    request: Request,
    _key: Annotated[object, Security(_KEY)],
    _org: Annotated[
        str | None, Header(alias="X-Org-Id", description="One of the key's organizations; else its default one.")
    ] = None,
) -> Caller:
    return request.state.caller


CurrentCaller = Annotated[Caller, Depends(_current_caller)]
