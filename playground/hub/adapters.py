"""Adapters on the Hub: which there are of a base, and what one says of itself before its weights are fetched.

Knows the Hub's client; refuses to fetch weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import HfApi, constants, hf_hub_download

from playground.errors import ModelLoadFailed
from playground.hub.files import ASK_TIMEOUT_S, CLIENT_ERRORS
from playground.hub.reasons import reason

MAX_LISTED = 100


@dataclass(frozen=True, slots=True)
class HubAdapter:
    """A repo with an adapter in it. `last_modified` is a date of ISO 8601."""

    id: str
    num_downloads: int
    last_modified: str | None


def adapters_of(author: str, base: str) -> Sequence[HubAdapter]:
    """A user's or organization's adapters of a base, the most downloaded first; raises `ModelLoadFailed`."""
    try:
        found = HfApi().list_models(
            author=author, filter=f"base_model:adapter:{base}", sort="downloads", limit=MAX_LISTED
        )
        return [
            HubAdapter(one.id, one.downloads or 0, one.last_modified.isoformat() if one.last_modified else None)
            for one in found
        ]
    except CLIENT_ERRORS as error:
        raise ModelLoadFailed(reason(author, None, error, constants.ENDPOINT)) from error


def adapter_config_file(repo: str, revision: str | None) -> Path:
    """Fetches a repo's adapter_config.json alone; raises `ModelLoadFailed` where that cannot be had."""
    try:
        return Path(hf_hub_download(repo, "adapter_config.json", revision=revision, etag_timeout=ASK_TIMEOUT_S))
    except CLIENT_ERRORS as error:
        raise ModelLoadFailed(reason(repo, revision, error, constants.ENDPOINT)) from error
