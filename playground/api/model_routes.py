"""`GET /v1/models`: what can be run, in OpenAI's format. Knows that format and the service's list."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Path
from pydantic import BaseModel

from playground.api.calling import CurrentCaller
from playground.api.documenting import LISTING, answered, documented
from playground.api.replies import now
from playground.service import Playground
from playground.types import ModelStatus

OURS = "playground"
ModelIdPath = Annotated[str, Path(description="A model's id, slashes and all.")]


class Model(BaseModel):
    """One model. `created` is when this server began to offer it, in seconds since 1970."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str


class ModelList(BaseModel):
    """All of them."""

    object: Literal["list"]
    data: list[Model]


_EXAMPLE = Model(id="playground/shop-demo", object="model", created=1785000000, owned_by=OURS)


def model_router(playground: Playground) -> APIRouter:
    """The list and its single entries."""
    router = APIRouter(prefix="/v1/models", tags=["Chat completions"])
    created = now()

    def shown(model: ModelStatus) -> Model:
        return Model(id=model.card.id, object="model", created=created, owned_by=model.card.owner or OURS)

    @router.get("", responses={**LISTING, **answered(ModelList(object="list", data=[_EXAMPLE]))})
    def list_models(caller: CurrentCaller) -> ModelList:
        """Every model that the caller may run."""
        runnable = [model for model in playground.models(caller) if model.card.problem is None]
        return ModelList(object="list", data=[shown(model) for model in runnable])

    @router.get("/{model_id:path}", responses={**LISTING, **documented(404), **answered(_EXAMPLE)})
    def get_model(model_id: ModelIdPath, caller: CurrentCaller) -> Model:
        """One of them."""
        return shown(playground.status(model_id, caller))

    return router
