"""The library's routes: what every model takes, into memory and out of it, fine-tunes added and removed.

Knows the library and its shapes; who may do what is the library's affair.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.concurrency import run_in_threadpool

from playground.api.calling import CurrentCaller
from playground.api.documenting import LISTING, answered, asked, documented
from playground.api.json_bodies import JsonRoute
from playground.api.library_bodies import (
    MODEL,
    STATE,
    AdapterBody,
    AddedReply,
    FolderBody,
    LibraryModel,
    LibraryModelReply,
    LibraryReply,
    LibraryState,
    ListedAdapter,
    ListedAdaptersReply,
    LoadProgress,
    Memory,
    ModelBody,
    PinBody,
    RemovedReply,
    WatchedReply,
)
from playground.api.playground_routes import listed
from playground.errors import InternalError, broken_rule
from playground.library import Library, Standing, require_manager
from playground.types import Caller

ARCHIVES_PATH = "/api/v1/playground/library/archives"
ARCHIVE_TYPE = "application/octet-stream"
MANAGING = {**documented(400, 404, 413), **LISTING}
LOADING = {**documented(501, 503), **MANAGING}
ADDING = {**documented(503), **MANAGING}
_MODEL_REPLY = LibraryModelReply(data=MODEL)
_ADDED = AddedReply(data=[MODEL])
_ADAPTERS = ListedAdaptersReply(
    data=[ListedAdapter(id="me/support-v2", num_downloads=12, last_modified="2026-11-02T10:00:00+00:00")]
)
_THIS = asked(this_model={"model": MODEL.id})
_ARCHIVE = {"requestBody": {"required": True, "content": {ARCHIVE_TYPE: {"schema": {"type": "string"}}}}}

ModelName = Annotated[str, Query(min_length=1, max_length=500, description="A model's id.")]
HubName = Annotated[str, Query(min_length=1, max_length=100, description="A user or an organization on the Hub.")]
FileName = Annotated[str, Query(min_length=1, max_length=200, description="What the archive is called.")]
Optional = Annotated[str | None, Query(max_length=200)]


def library_router(library: Library) -> APIRouter:
    """`library` under `/api/v1/playground`."""
    router = APIRouter(prefix="/api/v1/playground/library", tags=["Library"], route_class=JsonRoute)
    _add_memory(router, library)
    _add_adding(router, library)
    _add_archives(router, library)
    return router


def _add_memory(router: APIRouter, library: Library) -> None:
    def now(model: str, caller: Caller) -> LibraryModelReply:
        return LibraryModelReply(data=_shown(library.standing(model, caller)))

    @router.get("", responses={**LISTING, **answered(LibraryReply(data=STATE))})
    def show(caller: CurrentCaller) -> LibraryReply:
        """Every model with its state, what it takes, and who uses it."""
        shelf = library.shelf(caller)
        return LibraryReply(
            data=LibraryState(
                models=[_shown(one) for one in shelf.models],
                memory=Memory(used_bytes=shelf.used_bytes, budget_bytes=shelf.budget_bytes),
                may_manage=shelf.may_manage,
                may_save=shelf.may_save,
                watched=library.adding.watched(caller),
                problems=library.adding.problems(caller),
            )
        )

    @router.post("/load", responses={**LOADING, **answered(_MODEL_REPLY)}, openapi_extra=_THIS)
    def load(body: ModelBody, caller: CurrentCaller) -> LibraryModelReply:
        """Begins to load a model, and to download it first if need be: look again to see how far it is."""
        library.load(body.model, caller)
        return now(body.model, caller)

    @router.post("/cancel", responses={**MANAGING, **answered(_MODEL_REPLY)}, openapi_extra=_THIS)
    def cancel(body: ModelBody, caller: CurrentCaller) -> LibraryModelReply:
        """Ends a load that was begun here. What was downloaded is kept; a load that an answer waits for goes on."""
        library.cancel(body.model, caller)
        return now(body.model, caller)

    @router.post("/unload", responses={**MANAGING, **answered(_MODEL_REPLY)}, openapi_extra=_THIS)
    def unload(body: ModelBody, caller: CurrentCaller) -> LibraryModelReply:
        """Gives a model's memory back, a base's with that of its fine-tunes; refused while it is in use."""
        library.unload(body.model, caller)
        return now(body.model, caller)

    @router.post(
        "/pin",
        responses={**MANAGING, **answered(_MODEL_REPLY)},
        openapi_extra=asked(keep_it_in_memory={"model": MODEL.id, "pinned": True}),
    )
    def pin(body: PinBody, caller: CurrentCaller) -> LibraryModelReply:
        """Keeps a model in memory whoever wants the room, until the program ends; or no longer."""
        library.pin(body.model, caller, pinned=body.pinned)
        return now(body.model, caller)


def _add_adding(router: APIRouter, library: Library) -> None:
    def shown(ids: Sequence[str], caller: Caller) -> list[LibraryModel]:
        return [_shown(library.standing(id, caller)) for id in ids]

    @router.post(
        "/adapters",
        responses={**ADDING, **answered(_ADDED)},
        openapi_extra=asked(
            a_hub_repo={"source": "me/support-v2"},
            a_folder={"source": "/home/me/runs/support-v2", "id": "me/support-v2"},
        ),
    )
    def add(body: AdapterBody, caller: CurrentCaller) -> AddedReply:
        """Adds the adapter in a folder or a Hub repo; a folder with several below it is watched from now on."""
        cards = library.adding.add(body.source, caller, base_model=body.base_model, id=body.id, revision=body.revision)
        return AddedReply(data=shown([card.id for card in cards], caller))

    @router.delete("/adapters", responses={**ADDING, **answered(RemovedReply(data=ModelBody(model=MODEL.id)))})
    def remove(model: ModelName, caller: CurrentCaller) -> RemovedReply:
        """Takes out a fine-tune that was added here. Its files stay, unless they were uploaded."""
        library.adding.remove(model, caller)
        return RemovedReply(data=ModelBody(model=model))

    @router.post("/unwatch", responses={**ADDING, **answered(WatchedReply(data=[]))})
    def unwatch(body: FolderBody, caller: CurrentCaller) -> WatchedReply:
        """Watches a folder no longer; what was found in it is gone from the list."""
        library.adding.unwatch(body.folder, caller)
        return WatchedReply(data=library.adding.watched(caller))

    @router.get("/hub", responses={**ADDING, **answered(_ADAPTERS)})
    def list_on_hub(author: HubName, base_model: ModelName, caller: CurrentCaller) -> ListedAdaptersReply:
        """A Hub user's adapters of one of the bases here."""
        found = library.adding.on_hub(author, base_model, caller)
        data = [
            ListedAdapter(id=one.id, num_downloads=one.num_downloads, last_modified=one.last_modified) for one in found
        ]
        return ListedAdaptersReply(data=data)


def _add_archives(router: APIRouter, library: Library) -> None:
    @router.post("/archives", responses={**ADDING, **answered(LibraryModelReply(data=MODEL))}, openapi_extra=_ARCHIVE)
    async def upload(
        request: Request, name: FileName, caller: CurrentCaller, base_model: Optional = None, id: Optional = None
    ) -> LibraryModelReply:
        """Adds the adapter in a zip or tar file, sent as the body. Only safetensors and JSON are unpacked; an archive
        with pickles, code or links is refused, and so is one whose names lead elsewhere."""
        require_manager(caller)
        _require_bytes(request)
        with library.adding.receiving() as archive:
            try:
                with archive.open("wb") as stream:
                    async for chunk in request.stream():
                        await run_in_threadpool(stream.write, chunk)
            except OSError as error:
                raise InternalError(f"archive: it could not be kept: {os.strerror(error.errno or 0)}") from error
            card = await run_in_threadpool(
                lambda: library.adding.add_archive(archive, name, caller, base_model=base_model, id=id)
            )
        return LibraryModelReply(data=_shown(await run_in_threadpool(library.standing, card.id, caller)))


def _require_bytes(request: Request) -> None:
    """What a page of another site can send without asking first has one of three other kinds, or none."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != ARCHIVE_TYPE:
        raise broken_rule("Content-Type", kind, f"an archive is sent with Content-Type: {ARCHIVE_TYPE}")


def _shown(standing: Standing) -> LibraryModel:
    usage = standing.usage
    progress = usage.progress
    return LibraryModel(
        **listed(standing.status).model_dump(exclude={"dtype"}),
        memory_bytes=standing.memory_bytes,
        dtype=standing.placement.dtype,
        device=standing.placement.device,
        users=list(usage.users),
        num_waiting=usage.num_waiting,
        last_used_at=usage.last_used_at,
        pinned=usage.pinned,
        progress=LoadProgress(stage=progress.stage, fraction=progress.fraction, detail=progress.detail)
        if progress
        else None,
        cancellable=standing.is_cancellable,
        removable=standing.is_removable,
        uploaded=standing.is_uploaded,
        savable=standing.is_savable,
    )
