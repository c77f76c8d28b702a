"""Whether the process answers. Knows nothing of models: it is up as soon as the page is."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.routing import BaseRoute


def routes() -> list[BaseRoute]:
    """The routes to put before the page's own."""
    router = APIRouter()

    @router.get("/healthz", tags=["operations"])
    async def healthz() -> dict[str, str]:
        """200 as soon as the page is up."""
        return {"status": "ok"}

    return router.routes
