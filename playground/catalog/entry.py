"""One entry of models.yaml: its keys, and what each may say by itself.

Refuses to know other entries, the disk, and what an entry is for.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator

MAX_CONTEXT = 100_000_000

_HUB_ID = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)?", re.ASCII)
_SECRET = re.compile(r"key|token|secret|password|auth", re.IGNORECASE)
_DEVICE = re.compile(r"auto|cpu|mps|(cuda|xpu)(:[0-9]{1,3})?")


def is_hub_id(text: str) -> bool:
    """Whether `text` can be the id of a repo on the Hub: `name` or `organization/name`."""
    return len(text) <= 200 and bool(_HUB_ID.fullmatch(text)) and ".." not in text and "--" not in text


def may_hold_a_secret(key: str, value: object) -> bool:
    """Whether a wrong value is better not repeated in an error: somebody may have put a key or a password there."""
    in_address = key == "endpoint" and isinstance(value, str) and any(mark in value for mark in "@?#")
    return bool(_SECRET.search(key)) or in_address


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("it must not be empty")
    return text


def _one_line(text: str) -> str:
    if re.search(r"[\x00-\x1f\x7f]", text):
        raise ValueError("it must be one line, without control characters")
    return _not_blank(text)


def _id(text: str) -> str:
    if not re.fullmatch(r"[^\s\x00-\x1f]{1,200}", text):
        raise ValueError("it must be 1 to 200 characters without white space")
    if any(unicodedata.category(char) == "Cf" for char in text):
        raise ValueError("it must be made of characters that can be seen")
    if any(part in ("", ".", "..") for part in text.split("/")):
        raise ValueError("it must be names with a slash between, none of them empty, . or ..")
    return text


def _device(text: str) -> str:
    if not _DEVICE.fullmatch(text):
        raise ValueError("it must be auto, cpu, cuda, cuda:N, xpu, xpu:N or mps")
    return text


def _endpoint(text: str) -> str:
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in ("http", "https") or not parts.hostname or re.search(r"\s", text):
        raise ValueError("it must be an address such as http://localhost:8000/v1")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise ValueError(
            "it must be an address and nothing else, without a user, a password or anything after ? or #: "
            "api_key_env names the variable that holds a key"
        )
    return text.rstrip("/")


def _api_key_env(text: str) -> str:
    if not re.fullmatch(r"[A-Z_][A-Z0-9_]{0,99}", text):
        raise ValueError(
            "it must be the name of an environment variable in capitals, such as VLLM_API_KEY, and never the key itself"
        )
    return text


def _provider(text: str) -> str:
    if not re.fullmatch(r"[a-z][a-z0-9-]{0,49}", text):
        raise ValueError("it must be the name of a provider as Hugging Face writes it, such as together, or auto")
    return text


Text = Annotated[str, AfterValidator(_not_blank)]
Line = Annotated[str, AfterValidator(_one_line)]


class Entry(BaseModel):
    """One entry of `models`, as it stands in the file; types are strict and unknown keys refused."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    id: Annotated[str, AfterValidator(_id)]
    path: Line | None = None
    repo: Line | None = None
    base_model: Line | None = None
    adapter: Line | None = None
    revision: Line | None = None
    context_length: Annotated[int, Field(ge=1, le=MAX_CONTEXT)] | None = None
    name: Line | None = None
    description: str | None = None
    owner: Line | None = None
    dtype: Literal["auto", "float32", "bfloat16", "float16", "int8", "int4"] | None = None
    device: Annotated[str, AfterValidator(_device)] | None = None
    chat_template: Text | None = None
    endpoint: Annotated[str, AfterValidator(_endpoint)] | None = None
    provider: Annotated[str, AfterValidator(_provider)] | None = None
    served_model_name: Line | None = None
    api_key_env: Annotated[str, AfterValidator(_api_key_env)] | None = None
    merge: Literal["auto", "always", "never"] | None = None

    @field_validator("*", mode="before")
    @classmethod
    def _given_means_given(cls, value: Any) -> Any:
        if value is None:
            raise ValueError("it must have a value: give one, or take the key out")
        return value
