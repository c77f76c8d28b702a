"""Merges on their way to a folder or to the Hub, behind whoever asked for them, and how far each is.

Knows the service's streams of progress; refuses to keep a token, and what a merge is.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Literal

from playground import hub
from playground.errors import Cancelled, Forbidden, InternalError, InvalidRequest, PlaygroundError, broken_rule
from playground.evidence import Saved
from playground.library.places import whole_place
from playground.service import Playground
from playground.types import Caller, Progress

log = logging.getLogger(__name__)

MAX_KEPT = 20
"""Of what has ended so many are told still."""


@dataclass(slots=True)
class Work:
    """A save or a push. `target` is the folder, or the repo; `progress` is how far it is while it runs, `saved` or
    `address` what came of it, `error` why nothing did."""

    id: str
    kind: Literal["save", "push"]
    source: str
    target: str
    state: Literal["running", "done", "failed", "cancelled"] = "running"
    progress: Progress = field(default_factory=lambda: Progress("waiting"))
    saved: Saved | None = None
    address: str = ""
    error: str = ""


class Saving:
    """Saves and pushes, for whoever sits at this machine, whose disk it is. Called in one event loop."""

    def __init__(self, playground: Playground) -> None:
        self._playground = playground
        self._works: dict[str, Work] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def save(self, model_id: str, folder: str, caller: Caller) -> Work:
        """Begins to write a fine-tune, merged, into a new folder; raises what tells at once that it cannot be."""
        _require_local(caller)
        self._playground.require_tune(model_id, caller)
        path = whole_place(folder, "folder")
        self._require_free(str(path))
        hub.require_new(path)
        work = self._kept("save", model_id, str(path))
        return self._begin(work, self._playground.save(model_id, path, caller))

    def push(self, folder: str, repo: str, token: str, caller: Caller, *, private: bool) -> Work:
        """Begins to upload a merge that was saved to a new repo, by the token of whoever asks; raises what tells at
        once that it cannot be."""
        _require_local(caller)
        path = whole_place(folder, "folder")
        hub.require_pushable(path, repo, token)
        self._require_free(repo)
        work = self._kept("push", str(path), repo)
        return self._begin(work, self._playground.push(path, repo, token, private=private))

    def cancel(self, work_id: str, caller: Caller) -> Work:
        """Gives it up: of a save nothing is left, of a push an empty repo. Nothing where it has ended."""
        _require_local(caller)
        work = self._works.get(work_id)
        if work is None:
            raise broken_rule("id", work_id, "there is no such work")
        task = self._tasks.get(work_id)
        if task is not None:
            task.cancel()
        return work

    def works(self, caller: Caller) -> list[Work]:
        """All that run, and those that ended last, the newest first."""
        return list(reversed(self._works.values())) if caller.everything else []

    def _require_free(self, target: str) -> None:
        if any(work.target == target and work.state == "running" for work in self._works.values()):
            raise InvalidRequest(f"target: {target!r} is being written already", param="target")

    def _kept(self, kind: Literal["save", "push"], source: str, target: str) -> Work:
        ended = [work.id for work in self._works.values() if work.state != "running"]
        for work_id in ended[: max(0, len(self._works) - MAX_KEPT + 1)]:
            del self._works[work_id]
        work = Work(secrets.token_hex(4), kind, source, target)
        self._works[work.id] = work
        return work

    def _begin(self, work: Work, items: AsyncGenerator[Progress | Saved | str, None]) -> Work:
        self._tasks[work.id] = asyncio.get_running_loop().create_task(self._run(work, items))
        return work

    async def _run(self, work: Work, items: AsyncGenerator[Progress | Saved | str, None]) -> None:
        try:
            async with contextlib.aclosing(items):
                async for item in items:
                    _note(work, item)
            work.state = "done"
        except asyncio.CancelledError:
            work.state = "cancelled"
        except Cancelled:
            work.state = "cancelled"
        except PlaygroundError as error:
            work.state, work.error = "failed", error.message
        except Exception:
            log.exception("a %s broke off", work.kind)
            work.state, work.error = "failed", InternalError("something broke in here; the log says what").message
        finally:
            self._tasks.pop(work.id, None)


def _note(work: Work, item: Progress | Saved | str) -> None:
    if isinstance(item, Progress):
        work.progress = item
    elif isinstance(item, Saved):
        work.saved = item
    else:
        work.address = item


def _require_local(caller: Caller) -> None:
    if not caller.everything:
        raise Forbidden("Merges are written to this machine's disk: they are for whoever sits at it.")
