"""What the Hub's client raises, as sentences that a person can act on.

Knows the client's exceptions and nothing of what was to be fetched but its name.
"""

from __future__ import annotations

import errno

import httpx2
from huggingface_hub import constants
from huggingface_hub.errors import (
    DisabledRepoError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)


def reason(source: str, revision: str | None, error: Exception, endpoint: str) -> str:
    """One sentence for a person: what kept `source` from being fetched, and what to do about it."""
    if isinstance(error, LocalEntryNotFoundError) and isinstance(error.__cause__, Exception):
        # The client's "not on this disk either" hides why it could not ask.
        error = error.__cause__
    if isinstance(error, HfHubHTTPError):
        return _refusal(source, revision, error, endpoint)
    if isinstance(error, HFValidationError):
        return f"{source!r} is neither a folder nor the id of a Hub repo, such as organization/name"
    if isinstance(error, OfflineModeIsEnabled):
        return f"{source} is not complete on this disk and HF_HUB_OFFLINE is set: unset it to download it"
    if isinstance(error, httpx2.TimeoutException | TimeoutError):
        return f"{source}: {endpoint} took too long to answer: try again, or check the network connection"
    if is_network_trouble(error):
        return f"{source} is not complete on this disk and {endpoint} cannot be reached: check the network connection"
    number = error.errno if isinstance(error, OSError) else None
    if number in (errno.ENOSPC, errno.EDQUOT):
        return f"{source}: the disk is full: make room in {constants.HF_HUB_CACHE}, or set HF_HOME elsewhere"
    if number in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"{source}: {constants.HF_HUB_CACHE} cannot be written to: mend that, or set HF_HOME elsewhere"
    return f"{source} could not be downloaded: {_first_line(error)}; try again"


def _refusal(source: str, revision: str | None, error: HfHubHTTPError, endpoint: str) -> str:
    status = error.response.status_code
    page = f"{endpoint}/{source}"
    log_in = "log in with `hf auth login` or set HF_TOKEN"
    if isinstance(error, GatedRepoError) and status == 403:
        return (
            f"{source} is gated, and this token's account is not let in: accept its licence at {page} with that "
            f"account, or {log_in} with another's"
        )
    if isinstance(error, GatedRepoError):
        return f"{source} is gated: accept its licence at {page}, then {log_in}"
    if isinstance(error, RepositoryNotFoundError):
        return f"there is no such model as {source} at {endpoint}, or it is private: check the id, or {log_in}"
    if isinstance(error, RevisionNotFoundError):
        return f"{source} has no revision {revision!r}: look for its branches and tags at {page}"
    if isinstance(error, DisabledRepoError):
        return f"{source} has been disabled by the Hub: see {page}"
    if status in (401, 403):
        return (
            f"{source}: the Hub refuses this account's token ({status}): accept the licence at {page} if it "
            f"asks for that, and {log_in}"
        )
    if status == 429:
        return f"{source}: the Hub has had too many requests from here: try again later, or {log_in}"
    return f"{source}: the Hub answers with an error ({status}): try again later"


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def is_network_trouble(error: Exception) -> bool:
    """Whether the Hub could not be asked at all, so that what is cached may do."""
    if isinstance(error, HfHubHTTPError):
        return error.response.status_code >= 500
    # The client wraps a lost connection into a file that it did not find.
    return isinstance(error, httpx2.TransportError | ConnectionError | TimeoutError | LocalEntryNotFoundError)
