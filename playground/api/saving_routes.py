"""The library's routes for merges: written into a folder of this machine, pushed to the Hub, given up.

Knows the library's works and their shapes; a token goes through and is kept nowhere.
"""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field, SecretStr

from playground.api.calling import CurrentCaller
from playground.api.documenting import LISTING, answered, asked, documented
from playground.api.fields import Body, ModelId
from playground.api.json_bodies import JsonRoute
from playground.api.library_bodies import LoadProgress
from playground.library import Library, Work

FOLDER = "/home/me/support-v2-merged"
Folder = Annotated[str, Field(min_length=1, max_length=4096, description="A whole path of this machine.")]
Repo = Annotated[str, Field(min_length=3, max_length=200, description="owner/name, which is made.")]
Token = Annotated[SecretStr, Field(description="A token of yours that may write to it; kept nowhere.")]
CHANGING = {**documented(400, 413), **LISTING}


class SaveBody(Body):
    """A fine-tune, and the new folder for its merge."""

    model: ModelId
    folder: Folder


class PushBody(Body):
    """A folder with a saved merge, and the new repo for it."""

    folder: Folder
    repo: Repo
    token: Token
    private: bool = True


class WorkBody(Body):
    """Which work."""

    id: Annotated[str, Field(min_length=1, max_length=20)]


class MergeFigure(BaseModel):
    """How near the merge is to the adapter by row: `parts_after` so many equal greedy tokens, or never."""

    way: str
    max_difference: float
    parts_after: int | None
    num_tokens: int


class WorkState(BaseModel):
    """A save of a model (`source`) into a folder (`target`), or a push of a folder to a repo. `num_bytes` and
    `fidelity` are there once it is saved, `address` once it is on the Hub, `error` where it failed."""

    id: str
    kind: Literal["save", "push"]
    source: str
    target: str
    state: Literal["running", "done", "failed", "cancelled"]
    progress: LoadProgress
    num_bytes: int | None
    fidelity: list[MergeFigure]
    address: str
    error: str


class WorkReply(BaseModel):
    """One work, wrapped."""

    data: WorkState


class WorksReply(BaseModel):
    """All works, wrapped."""

    data: list[WorkState]


WORK = WorkState(
    id="1f2e3d4c",
    kind="save",
    source="me/support-v2",
    target=FOLDER,
    state="done",
    progress=LoadProgress(stage="saving", fraction=1.0, detail=""),
    num_bytes=7_690_000,
    fidelity=[MergeFigure(way="merged in float32", max_difference=2e-6, parts_after=None, num_tokens=32)],
    address="",
    error="",
)


def saving_router(library: Library) -> APIRouter:
    """`library/merges` under `/api/v1/playground`."""
    router = APIRouter(prefix="/api/v1/playground/library/merges", tags=["Library"], route_class=JsonRoute)
    saving = library.saving

    @router.get("", responses={**LISTING, **answered(WorksReply(data=[WORK]))})
    async def show(caller: CurrentCaller) -> WorksReply:
        """Merges that are being saved or pushed, and those that ended last; told to whoever sits at the machine."""
        return WorksReply(data=[_shown(work) for work in saving.works(caller)])

    @router.post(
        "",
        responses={**documented(404, 501, 503), **CHANGING, **answered(WorkReply(data=WORK))},
        openapi_extra=asked(a_new_folder={"model": "me/support-v2", "folder": FOLDER}),
    )
    async def save(body: SaveBody, caller: CurrentCaller) -> WorkReply:
        """Begins to write a fine-tune, merged, as a model of its own: look again to see how far it is."""
        return WorkReply(data=_shown(saving.save(body.model, body.folder, caller)))

    @router.post(
        "/push",
        responses={**CHANGING, **answered(WorkReply(data=WORK))},
        openapi_extra=asked(a_new_repo={"folder": FOLDER, "repo": "me/support-v2-merged", "token": "hf_…"}),
    )
    async def push(body: PushBody, caller: CurrentCaller) -> WorkReply:
        """Begins to upload a saved merge to a new repo of the Hub, private unless told otherwise."""
        token = body.token.get_secret_value()
        return WorkReply(data=_shown(saving.push(body.folder, body.repo, token, caller, private=body.private)))

    @router.post("/cancel", responses={**CHANGING, **answered(WorkReply(data=WORK))})
    async def cancel(body: WorkBody, caller: CurrentCaller) -> WorkReply:
        """Gives a work up: of a save nothing is left, of a push an empty repo."""
        return WorkReply(data=_shown(saving.cancel(body.id, caller)))

    return router


def _shown(work: Work) -> WorkState:
    saved = work.saved
    figures = saved.fidelity if saved else ()
    return WorkState(
        id=work.id,
        kind=work.kind,
        source=work.source,
        target=work.target,
        state=work.state,
        progress=LoadProgress(stage=work.progress.stage, fraction=work.progress.fraction, detail=work.progress.detail),
        num_bytes=saved.num_bytes if saved else None,
        fidelity=[
            MergeFigure(
                way=one.way, max_difference=one.max_difference, parts_after=one.parts_after, num_tokens=one.num_tokens
            )
            for one in figures
        ],
        address=work.address,
        error=work.error,
    )
