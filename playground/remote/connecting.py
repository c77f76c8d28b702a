"""From a base's card to the server that answers for it, and to how that server is named in messages.

Knows the card's keys and the environment, where the key is; the key goes to the server and nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from huggingface_hub import get_token

from playground.errors import ModelLoadFailed
from playground.remote.failing import Place
from playground.remote.openai_server import OpenAIServer
from playground.remote.provider_server import ProviderServer
from playground.remote.server import Server
from playground.types import ModelCard


def server_of(base: ModelCard, environ: Mapping[str, str], connect_seconds: float) -> tuple[Server, Place]:
    """The server that answers for `base`, and how it is named; raises `ModelLoadFailed` where its key is missing."""
    key = None
    if base.api_key_env is not None:
        key = environ.get(base.api_key_env, "").strip()
        if not key:
            raise ModelLoadFailed(
                f"{base.id}: api_key_env: {base.api_key_env!r} is not allowed: no environment variable of this name is "
                "set; set it to the server's key where this program is started"
            )
    if base.endpoint is not None:
        place = Place(urlsplit(base.endpoint).netloc, base.api_key_env)
        return OpenAIServer(base.endpoint, key, connect_seconds), place
    assert base.provider is not None, "a remote base has an endpoint or a provider"
    token = key or environ.get("HF_TOKEN", "").strip() or get_token()
    if not token:
        raise ModelLoadFailed(
            f"{base.id}: the provider {base.provider} asks for a Hugging Face token: set the environment variable "
            "HF_TOKEN, or name another one in api_key_env"
        )
    place = Place(f"{base.provider} (through Hugging Face)", base.api_key_env or "HF_TOKEN")
    return ProviderServer(base.provider, token, connect_seconds), place
