"""What goes wrong at a server, in words that a person can act on; and whether to ask once more.

Knows statuses, the environment variable's name and never its value.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from playground.errors import InternalError, InvalidRequest, ModelLoadFailed, Overloaded, PlaygroundError
from playground.remote.server import Garbled, Lost, Refusal
from playground.types import ModelCard

Failure = Refusal | Lost | Garbled

FIRST_WAIT_SECONDS = 0.5
"""Before the second try; twice as long before each later one. A server that restarts a worker is back in seconds."""
MAX_WAIT_SECONDS = 20.0
"""Whoever is asked to wait longer hears of it at once: a person at a page would rather choose another model."""
MAX_NAMED = 20


def wait_before_retry(failure: Failure, num_tries: int) -> float | None:
    """Seconds until the same may be asked again; None where that would not help."""
    if isinstance(failure, Garbled):
        return None
    wait = FIRST_WAIT_SECONDS * 2 ** (num_tries - 1)
    if isinstance(failure, Refusal):
        if failure.status is None or (failure.status != 429 and failure.status < 500):
            return None
        wait = wait if failure.retry_after is None else failure.retry_after
    return wait if wait <= MAX_WAIT_SECONDS else None


@dataclass(frozen=True, slots=True)
class Place:
    """Where a model is answered for, as messages name it. `key_env` is the variable whose value was sent, if any."""

    name: str
    key_env: str | None

    def error(self, failure: Failure, card: ModelCard, spoke: bool) -> PlaygroundError:
        """A failure as whoever asked for an answer of `card` hears it."""
        if isinstance(failure, Garbled):
            return InternalError(f"{self.name}: {failure}")
        if isinstance(failure, Lost):
            if spoke:
                return InternalError(f"{self.name}: the connection broke in the middle of the answer: {failure}")
            return ModelLoadFailed(f"{card.id}: {self.name} cannot be reached: {failure}. Is the server running?")
        return self._refused(failure, card)

    def _refused(self, refusal: Refusal, card: ModelCard) -> PlaygroundError:
        status, words = refusal.status, f": {refusal.words}" if refusal.words else ""
        if status is None:
            return InternalError(f"{self.name} broke the answer off{words}")
        said = f"{self.name} answered {status}{words}"
        if 300 <= status < 400:
            return ModelLoadFailed(f"{card.id}: {said}. It points elsewhere: endpoint must be the address that answers")
        if status in (400, 413, 422):
            return InvalidRequest(said, param=refusal.param)
        if status in (401, 403):
            return ModelLoadFailed(f"{card.id}: {self._key_advice()}: {said}")
        if status == 404:
            return ModelLoadFailed(
                f"{card.id}: {said}. It was asked for {card.name_there!r}: served_model_name must be a name that it "
                "knows, and endpoint the address up to and with /v1"
            )
        if status == 429:
            return Overloaded(said)
        return InternalError(said) if status == 500 else ModelLoadFailed(f"{card.id}: {said}")

    def no_such_model(self, card: ModelCard, served: Sequence[str]) -> ModelLoadFailed:
        """The server lists what it serves, and `card` is not among it."""
        named = ", ".join(served[:MAX_NAMED]) + (" and more" if len(served) > MAX_NAMED else "")
        return ModelLoadFailed(
            f"{card.id}: {self.name} does not serve {card.name_there!r}; it serves {named}: give one of these as "
            "served_model_name, or start the server with this one"
        )

    def _key_advice(self) -> str:
        if self.key_env is None:
            return "no key was sent; name the environment variable that holds one in api_key_env"
        return f"the key in the environment variable {self.key_env} is not accepted"
