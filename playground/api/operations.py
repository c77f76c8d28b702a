"""For whoever runs the server: whether it answers, and what it has counted. Knows nothing of models."""

from __future__ import annotations

from fastapi import APIRouter, Response

from playground.api.calling import CurrentCaller
from playground.api.documenting import Responses, documented
from playground.metrics import CONTENT_TYPE, Metrics

_SCRAPE = {"schema": {"type": "string"}, "example": 'playground_tokens_total{kind="prompt"} 14.0\n'}
_TEXT: Responses = {200: {"description": "Counters, gauges and histograms.", "content": {"text/plain": _SCRAPE}}}


def operations_router(metrics: Metrics) -> APIRouter:
    """`/healthz` and `/metrics`."""
    router = APIRouter(tags=["Operations"])

    @router.head("/healthz", include_in_schema=False)
    @router.get("/healthz")
    async def healthz() -> dict[str, str]:
        """200 as soon as the page is up; needs no key."""
        return {"status": "ok"}

    @router.get("/metrics", response_class=Response, responses={**documented(401, 403, 500), **_TEXT})
    def show_metrics(_: CurrentCaller) -> Response:
        """Requests, tokens, queue, latencies and memory, in Prometheus' text format."""
        return Response(metrics.text(), media_type=CONTENT_TYPE)

    return router
