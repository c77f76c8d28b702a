"""Adapters on the Hub: which there are of a base, and what one says of itself before its weights are fetched.

Knows the Hub's client; refuses to fetch weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import (
    ModelInfo,
    constants,
    get_hf_file_metadata,
    hf_hub_download,
    hf_hub_url,
    try_to_load_from_cache,
)
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status

from playground.errors import ModelLoadFailed, broken_rule
from playground.hub.files import ASK_TIMEOUT_S, CLIENT_ERRORS
from playground.hub.reasons import reason

MAX_LISTED = 100
_CONFIG = "adapter_config.json"


@dataclass(frozen=True, slots=True)
class HubAdapter:
    """A repo with an adapter in it. `last_modified` is a date of ISO 8601."""

    id: str
    num_downloads: int
    last_modified: str | None


def adapters_of(author: str, base: str) -> Sequence[HubAdapter]:
    """A user's or organization's adapters of a base, the most downloaded first; raises `InvalidRequest`
    where the Hub knows no such author, `ModelLoadFailed` where it does not tell, within seconds."""
    wanted = {
        "author": author,
        "filter": f"base_model:adapter:{base}",
        "sort": "downloads",
        "limit": MAX_LISTED,
    }
    try:
        # The client's own list goes on trying for half a minute while somebody waits.
        answer = get_session().get(
            f"{constants.ENDPOINT}/api/models", params=wanted, headers=build_hf_headers(), timeout=ASK_TIMEOUT_S
        )
        hf_raise_for_status(answer)
        found = [ModelInfo(**one) for one in answer.json()]
    except CLIENT_ERRORS as error:
        if isinstance(error, HfHubHTTPError) and error.response.status_code == 404:
            rule = f"there is no user or organization of this name at {constants.ENDPOINT}"
            raise broken_rule("author", author, rule) from None
        raise ModelLoadFailed(reason(author, None, error, constants.ENDPOINT)) from error
    return [
        HubAdapter(one.id, one.downloads or 0, one.last_modified.isoformat() if one.last_modified else None)
        for one in found
    ]


def adapter_config_file(repo: str, revision: str | None) -> Path:
    """Fetches a repo's adapter_config.json alone; raises `ModelLoadFailed` where that cannot be had."""
    try:
        if not isinstance(try_to_load_from_cache(repo, _CONFIG, revision=revision), str):
            # Asked by itself it tells at once that the Hub does not answer; a download would go on trying.
            get_hf_file_metadata(hf_hub_url(repo, _CONFIG, revision=revision), timeout=ASK_TIMEOUT_S)
        return Path(hf_hub_download(repo, _CONFIG, revision=revision, etag_timeout=ASK_TIMEOUT_S))
    except CLIENT_ERRORS as error:
        raise ModelLoadFailed(reason(repo, revision, error, constants.ENDPOINT)) from error
