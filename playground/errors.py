"""The errors that users and clients meet.

Each class knows its HTTP status and its code; the message says what is wrong and what to do about it.
Nothing here knows how an error is shown: that is the page's and the API's affair.
"""

from __future__ import annotations

from collections.abc import Sequence


class PlaygroundError(Exception):
    """Base of all errors meant to be read by a person. `param` names the offending field, if there is one."""

    status = 500
    code = "internal_error"

    def __init__(self, message: str, *, param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param


class InvalidRequest(PlaygroundError):
    """A request's field breaks a rule: the message names the field, its value and the rule."""

    status = 400
    code = "validation_error"


class InvalidKey(PlaygroundError):
    """Keys are on, and the request has none, or one that is unknown or revoked: the three look alike."""

    status = 401
    code = "invalid_api_key"

    def __init__(self) -> None:
        super().__init__("The API key is missing or not valid: send it as `Authorization: Bearer tt_…`.")


class Forbidden(PlaygroundError):
    """The caller is known and may not do this, such as speaking for an organization it does not belong to."""

    status = 403
    code = "forbidden"


class ModelNotFound(PlaygroundError):
    """No such model, or not one that the caller may see: the two look alike."""

    status = 404
    code = "model_not_found"


class PayloadTooLarge(PlaygroundError):
    """The body is over the limit; nothing of it was used."""

    status = 413
    code = "payload_too_large"


class Overloaded(PlaygroundError):
    """The queue is full; asking again later helps."""

    status = 429
    code = "overloaded"


class InternalError(PlaygroundError):
    """Something broke in here; the log has the stack trace, the message does not."""


class PlaygroundUnavailable(PlaygroundError):
    """Inference is switched off: the inventory can be browsed and nothing can be run."""

    status = 501
    code = "playground_unavailable"

    def __init__(self) -> None:
        super().__init__("Playground inference is unavailable for hosted fine-tuned models.")


class ModelLoadFailed(PlaygroundError):
    """A model could not be made ready, for a reason that a person can act on."""

    status = 503
    code = "model_load_failed"


class SaveFailed(PlaygroundError):
    """A merge could not be written or pushed, or what was added not be kept, for a reason that a person can act on."""

    status = 503
    code = "save_failed"


class Cancelled(PlaygroundError):
    """Whoever asked has gone; seen by nobody but the code that cleans up, and by what counts."""

    status = 499
    code = "cancelled"


class ConfigurationError(PlaygroundError):
    """The program cannot start; `problems` lists everything that is wrong, not only the first thing."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


MAX_SHOWN_CHARS = 80


def shortened(text: str) -> str:
    """A text cut to what a message can carry."""
    return text if len(text) <= MAX_SHOWN_CHARS else text[: MAX_SHOWN_CHARS - 3] + "..."


def broken_rule(param: str, value: object, rule: str) -> InvalidRequest:
    """An `InvalidRequest` that names the field, the value (shortened) and the rule."""
    return InvalidRequest(f"{param}: {shortened(repr(value))} is not allowed: {rule}", param=param)
