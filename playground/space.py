"""What a Hugging Face Space gives a program: its variables, its storage, the GPU that it lends for a while, and what
lets visitors sign in at the Hub.

Imports nothing but the standard library, since much of this must be settled before other libraries are imported;
refuses to know what is stored or run.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

STORAGE = Path("/data")
"""Where a Space's persistent storage is mounted, if it has any. Source: the Hub's documentation of Spaces' storage."""
PARENT_SITES = ("https://huggingface.co",)
"""The sites that show a Space in a frame."""

ACCOUNT_NAME = re.compile(r"[A-Za-z0-9_.-]{1,96}")
"""The Hub's names of accounts, and no name that the program gives to those who have none."""


@dataclass(frozen=True, slots=True)
class OAuthApp:
    """What the Hub registers for a Space whose card says `hf_oauth: true`. Source: the Hub's documentation of Spaces'
    OAuth."""

    client_id: str
    client_secret: str = field(repr=False)
    provider_url: str
    redirect_url: str


def is_space(environ: Mapping[str, str]) -> bool:
    """Whether this process runs in a Space."""
    return bool(environ.get("SPACE_ID"))


def has_zero_gpu(environ: Mapping[str, str]) -> bool:
    """Whether this Space is lent a GPU for each call of a decorated function, and has none in between."""
    return is_space(environ) and environ.get("SPACES_ZERO_GPU", "").lower() in ("1", "t", "true")


def storage() -> Path | None:
    """The persistent storage; None where there is none, or where it cannot be written to."""
    return STORAGE if STORAGE.is_dir() and os.access(STORAGE, os.W_OK | os.X_OK) else None


def home() -> Path:
    """Where a Space keeps what the program writes: in its storage, else where the next restart forgets it."""
    return (storage() or Path(tempfile.gettempdir())) / "playground"


def variables(environ: Mapping[str, str]) -> dict[str, str]:
    """What the environment must say before huggingface_hub is imported: where weights are kept over restarts."""
    kept = storage() if is_space(environ) else None
    return {"HF_HOME": str(kept / "huggingface")} if kept is not None and not environ.get("HF_HOME") else {}


def oauth_app(environ: Mapping[str, str]) -> OAuthApp | None:
    """What visitors sign in at the Hub with; None where this is no Space, or its card does not ask for it."""
    names = ("OAUTH_CLIENT_ID", "OAUTH_CLIENT_SECRET", "OPENID_PROVIDER_URL", "SPACE_HOST")
    client_id, client_secret, provider_url, hosts = (environ.get(name, "").strip() for name in names)
    if not (is_space(environ) and client_id and client_secret and provider_url and hosts):
        return None
    # With a domain of its own a Space is told several hosts; the Hub sends back to the first.
    redirect_url = f"https://{hosts.split(',')[0].strip()}/login/callback"
    return OAuthApp(client_id, client_secret, provider_url.rstrip("/"), redirect_url)
