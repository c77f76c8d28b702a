"""The REST API as one application: every route, one error body, documentation that needs no other host.

Knows the routers; the page, keys and who is calling are the door's affair.
"""

from __future__ import annotations

from functools import cache

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline

from playground.api.chat_routes import chat_router
from playground.api.compare_route import compare_router
from playground.api.documenting import true_document
from playground.api.errors import add_handlers
from playground.api.evaluation_routes import evaluation_router
from playground.api.history_routes import history_router
from playground.api.insight_routes import insight_router
from playground.api.library_routes import library_router
from playground.api.model_routes import model_router
from playground.api.operations import operations_router
from playground.api.playground_routes import playground_router
from playground.api.saving_routes import saving_router
from playground.api.text_routes import text_router
from playground.evaluator import Evaluator
from playground.library import Library
from playground.metrics import Metrics
from playground.service import Playground

VERSION = "1"
ASSETS = "/docs-assets"
DESCRIPTION = """
Base models and their fine-tunes, asked over REST. Three formats over one engine: the playground's own routes, raw text
completions, and OpenAI's chat completions, so that clients which already exist work as they are.

Unknown fields are refused, and so is every field that a model cannot honour. `null` stands for a field left out.
All errors have one body: `{"error": {"code", "message", "type", "param"}}`.
"""


def build_api(playground: Playground, evaluator: Evaluator, library: Library, metrics: Metrics) -> FastAPI:
    """All routes over the service, over what runs evaluations with it, and over what keeps models."""
    api = FastAPIOffline(
        title="Playground",
        version=VERSION,
        description=DESCRIPTION,
        docs_url="/docs",
        redoc_url=None,
        static_url=ASSETS,
        redirect_slashes=False,
    )
    routers = (
        playground_router(playground),
        compare_router(playground),
        insight_router(playground),
        library_router(library),
        saving_router(library),
        evaluation_router(playground, evaluator),
        history_router(playground),
        text_router(playground),
        chat_router(playground),
        model_router(playground),
        operations_router(metrics),
    )
    for router in routers:
        api.include_router(router)
    api.openapi = cache(lambda: true_document(api, routers))
    add_handlers(api)
    return api
