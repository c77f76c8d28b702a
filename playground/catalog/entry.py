"""One entry of models.yaml: its keys, and what each may say by itself.

Refuses to know other entries, the disk, and what an entry is for.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator

MAX_CONTEXT = 100_000_000

_DEVICE = re.compile(r"auto|cpu|mps|(cuda|xpu)(:[0-9]{1,3})?")


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
    return text.rstrip("/")


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
    merge: Literal["auto", "always", "never"] | None = None

    @field_validator("*", mode="before")
    @classmethod
    def _given_means_given(cls, value: Any) -> Any:
        if value is None:
            raise ValueError("it must have a value: give one, or take the key out")
        return value
