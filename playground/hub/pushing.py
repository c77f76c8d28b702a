"""A saved merge onto the Hub, into a new repo of the person whose token it is.

Knows the Hub's client. A token is given for one push: it is kept nowhere, and no error or log line has it.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from contextlib import ExitStack
from fnmatch import fnmatch
from functools import partial
from pathlib import Path

import httpx2
from huggingface_hub import CommitOperationAdd, HfApi, constants
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled
from huggingface_hub.utils import validate_repo_id

from playground.errors import InvalidRequest, PlaygroundError, SaveFailed, broken_rule
from playground.hub.files import MODEL_FILES
from playground.hub.metering import Meter, run_watched
from playground.hub.model_cards import is_saved_merge
from playground.hub.reasons import is_network_trouble
from playground.types import LoadWatch, Progress

_PUSHED = (*MODEL_FILES, "README.md")
_IN_A_NEW_REPO = {".gitattributes"}
_TOKEN = re.compile(r"[\x21-\x7e]{1,500}")
_REPO = re.compile(r"[\w.-]{1,96}/[\w.-]{1,96}", re.ASCII)
_CLIENT_ERRORS = (httpx2.HTTPError, OSError, ValueError, RuntimeError)


def push(
    folder: Path, repo: str, token: str, watch: LoadWatch, *, private: bool = True, endpoint: str | None = None
) -> str:
    """Uploads a merge saved in `folder` to the new repo `repo`, `owner/name`, and gives its address.

    All files arrive in one commit: a push that breaks off leaves an empty repo, into which the next one may go. What
    `watch.report` raises stops it. Raises `InvalidRequest` for a folder or token that cannot be meant, `SaveFailed`
    with what to do for the rest.
    """
    require_pushable(folder, repo, token)
    endpoint = endpoint or constants.ENDPOINT
    try:
        watch.report(Progress("uploading", 0.0, f"asking the Hub for {repo}"))
        api = HfApi(endpoint=endpoint, token=token)
        repo_id = _repo_to_fill(api, repo, private)
        files = [file for file in sorted(folder.iterdir()) if any(fnmatch(file.name, kind) for kind in _PUSHED)]
        meter = Meter("uploading", sum(file.stat().st_size for file in files))
        run_watched(partial(_commit, api, repo_id, files, meter), meter, watch)
    except PlaygroundError:
        raise
    except _CLIENT_ERRORS as error:
        # Without its cause: a client's error may quote the headers that it could not send.
        raise SaveFailed(_reason(repo, error, endpoint).replace(token, "…")) from None
    return f"{endpoint}/{repo_id}"


def require_pushable(folder: Path, repo: str, token: str) -> None:
    """Raises `InvalidRequest` for a folder, a repo or a token that cannot be meant; asks the Hub nothing."""
    if not is_saved_merge(folder):
        raise broken_rule("folder", str(folder), "only a merge that was saved here is pushed")
    if not _TOKEN.fullmatch(token):
        raise InvalidRequest("token: it must be one word, as the Hub shows it", param="token")
    if not _REPO.fullmatch(repo):
        raise broken_rule("repo", repo, "it must be owner/name, the owner being an account or organization of the Hub")
    try:
        validate_repo_id(repo)
    except HFValidationError as error:
        raise broken_rule("repo", repo, "it is not a name that the Hub takes") from error


def _repo_to_fill(api: HfApi, repo: str, private: bool) -> str:
    """The id of the repo, made anew or empty from an earlier try."""
    try:
        return api.create_repo(repo, private=private).repo_id
    except HfHubHTTPError as error:
        if error.response.status_code != 409:
            raise
    there = api.model_info(repo)
    if {file.rfilename for file in there.siblings or ()} - _IN_A_NEW_REPO:
        raise SaveFailed(f"{repo} exists already and holds files, which are not overwritten: choose another name")
    if there.private != private:
        raise SaveFailed(f"{repo} exists already and is {'public' if private else 'private'}: choose another name")
    return repo


class _Counted(io.BufferedReader):
    """A file that counts what is read of it; it is read twice, for its hash and to be sent."""

    def __init__(self, file: Path, meter: Meter) -> None:
        super().__init__(io.FileIO(file))
        self._meter = meter

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(-1 if size is None else size)
        self._meter.add(0, len(data) / 2)
        return data


def _commit(api: HfApi, repo_id: str, files: Sequence[Path], meter: Meter) -> None:
    with ExitStack() as opened:
        parts = [CommitOperationAdd(file.name, opened.enter_context(_Counted(file, meter))) for file in files]
        api.create_commit(repo_id, parts, commit_message="A merged fine-tune")


def _reason(repo: str, error: Exception, endpoint: str) -> str:
    if isinstance(error, HfHubHTTPError):
        status = error.response.status_code
        if status in (401, 403):
            return (
                f"{repo}: the Hub refuses this token ({status}): make one that may write to it at "
                f"{endpoint}/settings/tokens"
            )
        if status == 429:
            return f"{repo}: the Hub has had too many requests from here: try again later"
        return f"{repo}: the Hub answers with an error ({status}): try again later"
    if isinstance(error, OfflineModeIsEnabled):
        return f"{repo}: HF_HUB_OFFLINE is set: unset it to push"
    if is_network_trouble(error) or isinstance(error, httpx2.HTTPError):
        return f"{repo}: {endpoint} cannot be reached, or the connection broke: try again"
    return f"{repo} could not be pushed: {type(error).__name__}: {error}"
