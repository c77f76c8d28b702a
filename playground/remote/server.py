"""What a server is to the engine: a list of models, an answer's chunks, and three ways to fail.

Knows HTTP's errors and how servers word them; refuses to know the client libraries, requests and events.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Protocol

from playground.remote.asking import Call

MAX_WORDS_CHARS = 400
"""So much of a server's own message is shown."""
_NOT_SHOWN = "(the key)"


class Refusal(Exception):
    """The server answered with an error. `status` is HTTP's, None for an error in the middle of a stream;
    `retry_after` are the seconds that it asks to wait."""

    def __init__(
        self, status: int | None, words: str, param: str | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(words)
        self.status, self.words, self.param, self.retry_after = status, words, param, retry_after


class Lost(Exception):
    """There was no connection, or it broke."""


class Garbled(Exception):
    """What came is no stream of an answer."""


Chunks = AsyncGenerator[Any, None]


class Server(Protocol):
    """One server with one key. All its methods raise `Refusal`, `Lost` and `Garbled`."""

    async def model_ids(self) -> list[str]:
        """What the server serves; empty where it does not list that."""
        ...

    def chunks(self, call: Call) -> Chunks:
        """One answer's chunks. Closing it closes the connection, wherever the answer is."""
        ...

    async def close(self) -> None:
        """Closes what connections are left."""
        ...


def words_of(body: Any) -> str:
    """The server's own message, wherever its kind of server puts it."""
    if isinstance(body, Mapping):
        inner = next((body[key] for key in ("error", "message", "detail") if body.get(key)), None)
        return words_of(inner) if isinstance(inner, Mapping | str) else json.dumps(inner) if inner else ""
    return body if isinstance(body, str) else ""


def shown(words: str, key: str | None) -> str:
    """Words as one line that a message can carry, without the key, which a server that refuses it may repeat."""
    line = " ".join((words.replace(key, _NOT_SHOWN) if key else words).split())
    return line if len(line) <= MAX_WORDS_CHARS else line[: MAX_WORDS_CHARS - 1] + "…"


def retry_after(headers: Mapping[str, str]) -> float | None:
    """The seconds that a server asks to wait: a number, or a date."""
    value = headers.get("retry-after", "")
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return None


def param_of(body: Any) -> str | None:
    """The field that an error body names."""
    inner = body.get("error", body) if isinstance(body, Mapping) else None
    param = inner.get("param") if isinstance(inner, Mapping) else None
    return param if isinstance(param, str) else None


def cause_of(error: BaseException) -> str:
    """What a client library's error hides behind itself."""
    cause = error.__cause__ or error
    return str(cause) or type(cause).__name__
