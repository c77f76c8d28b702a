"""What the library's routes are asked and answer, with an example of each.

Knows these shapes alone; where their values come from is the routes' affair.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field

from playground.api.fields import Body, ModelId
from playground.api.playground_routes import ListedModel

Source = Annotated[
    str, Field(min_length=1, max_length=4096, description="A folder of this server, or the id of a Hub repo.")
]
NewId = Annotated[str | None, Field(max_length=200, description="What the model is to be called here.")]
Revision = Annotated[str | None, Field(max_length=200, description="Of the Hub repo: a branch, a tag or a commit.")]
BaseName = Annotated[
    str | None, Field(max_length=200, description="The base to run it on, where the adapter names none that is here.")
]


class ModelBody(Body):
    """Which model."""

    model: ModelId


class PinBody(ModelBody):
    """Whether it is to stay in memory."""

    pinned: bool


class AdapterBody(Body):
    """An adapter to add. A folder may also hold several, at any depth: then it is watched."""

    source: Source
    id: NewId = None
    base_model: BaseName = None
    revision: Revision = None


class FolderBody(Body):
    """A watched folder."""

    folder: Annotated[str, Field(min_length=1, max_length=4096)]


class LoadProgress(BaseModel):
    """What is being waited for; `fraction` 0 to 1 where it is known."""

    stage: str
    fraction: float | None
    detail: str


class LibraryModel(ListedModel):
    """A model and what it takes. `memory_bytes` is taken now where it is ready, else about what loading it takes;
    `dtype` is what most weights of it or of its base are kept in, and `device` where it calculates, both as they are
    in memory or as they will be, null where that is not known yet; `users` are the accounts of running answers, empty
    names where nobody signs in. Removing what was `uploaded` deletes its files."""

    memory_bytes: int | None
    device: str | None
    users: list[str]
    num_waiting: int
    last_used_at: float | None
    pinned: bool
    progress: LoadProgress | None
    cancellable: bool
    removable: bool
    uploaded: bool
    savable: bool


class Memory(BaseModel):
    """The memory that loaded models share, in bytes."""

    used_bytes: int
    budget_bytes: int


class LibraryState(BaseModel):
    """All models that the caller sees. Only who `may_manage` may change anything, and who `may_save` write merges to
    this machine's disk; `watched` are the folders that were added here and `problems` what is wrong with the file of
    what was added, both told to whoever sits at the machine."""

    models: list[LibraryModel]
    memory: Memory
    may_manage: bool
    may_save: bool
    watched: list[str]
    problems: list[str]


class LibraryReply(BaseModel):
    """The wrapped library."""

    data: LibraryState


class LibraryModelReply(BaseModel):
    """One model, wrapped."""

    data: LibraryModel


class AddedReply(BaseModel):
    """What is there now, wrapped."""

    data: list[LibraryModel]


class RemovedReply(BaseModel):
    """What is there no longer, wrapped."""

    data: ModelBody


class WatchedReply(BaseModel):
    """The folders that are watched still, wrapped."""

    data: list[str]


class ListedAdapter(BaseModel):
    """An adapter on the Hub."""

    id: str
    num_downloads: int
    last_modified: str | None


class ListedAdaptersReply(BaseModel):
    """A Hub user's adapters of one base, wrapped."""

    data: list[ListedAdapter]


MODEL = LibraryModel(
    id="me/support-v2",
    name="support-v2",
    type="fine-tuned",
    base_model="playground/shop-demo",
    status="ready",
    memory_bytes=442368,
    dtype="float32",
    size_bytes=442368,
    device="cpu",
    users=["ann"],
    num_waiting=0,
    last_used_at=1785000000.0,
    pinned=False,
    progress=None,
    cancellable=False,
    removable=True,
    uploaded=False,
    savable=True,
)
STATE = LibraryState(
    models=[MODEL],
    memory=Memory(used_bytes=4_279_680, budget_bytes=11_000_000_000),
    may_manage=True,
    may_save=True,
    watched=[],
    problems=[],
)
