"""How long a server may take, and how often it is asked."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """How long a server may take, in seconds, and how often it is asked.

    A machine that is there accepts a connection within milliseconds, `connect` leaves room for a slow name server.
    The `first_token` may have to wait for a long prompt, a full queue or an endpoint that starts from nothing.
    Between two tokens there is one step of a batch, and `next_token` is hundreds of slow ones. The `whole` of the
    longest answer, 4,096 tokens, is done by then at little more than one a second. What follows an answer's end, its
    usage, is worth `tail` and no more.
    """

    connect: float = 10.0
    first_token: float = 600.0
    next_token: float = 60.0
    whole: float = 3600.0
    tail: float = 5.0
    num_tries: int = 3
