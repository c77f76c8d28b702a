"""What the process counts, in Prometheus' text format.

Hears of every answer, the page's and the API's alike; refuses to know models or callers, so that the numbers
tell nobody what others may not see.
"""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from playground.errors import PlaygroundError
from playground.types import Finish

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)


class Metrics:
    """The counters of one process. `memory_bytes` and `budget_bytes` are asked for at each scrape."""

    def __init__(self, memory_bytes: Callable[[], int], budget_bytes: int) -> None:
        self._registry = every = CollectorRegistry()
        ProcessCollector(registry=every)
        over, tokens = "Answers that are over: stop, length, or an error's code.", "Tokens of finished answers."
        self._answers = Counter("playground_answers", over, ["outcome"], registry=every)
        self._computed = Counter(
            "playground_answers_computed", "Finished answers by what computed them here.", ["by"], registry=every
        )
        self._tokens = Counter("playground_tokens", tokens, ["kind"], registry=every)
        reused = "Prompt tokens of finished answers that had been read before, for another answer."
        self._reused = Counter("playground_prompt_tokens_reused", reused, registry=every)
        self._http = Counter(
            "playground_http_requests", "Requests to the API.", ["method", "route", "status"], registry=every
        )
        waiting, speaking = "Answers that have not begun to speak.", "Answers that stream now."
        self._waiting = Gauge("playground_answers_waiting", waiting, registry=every)
        self._speaking = Gauge("playground_answers_speaking", speaking, registry=every)
        self._load, self._queued, self._first_token, self._total = (
            Histogram(f"playground_{name}_seconds", text, buckets=_SECONDS, registry=every)
            for name, text in (
                ("load", "Time that an answer waited for weights or an adapter."),
                ("queue", "Time that an answer waited for a place in the batch."),
                ("first_token", "Time from a request's arrival to the first token."),
                ("answer", "Time from a request's arrival to the end of its answer."),
            )
        )
        memory, budget = "Memory that loaded models take.", "Memory that loaded models may take."
        Gauge("playground_model_memory_bytes", memory, registry=every).set_function(memory_bytes)
        Gauge("playground_model_memory_budget_bytes", budget, registry=every).set(budget_bytes)

    def began(self) -> None:
        self._waiting.inc()

    def first_token(self) -> None:
        self._waiting.dec()
        self._speaking.inc()

    def ended(self, outcome: Finish | PlaygroundError, *, spoke: bool) -> None:
        (self._speaking if spoke else self._waiting).dec()
        if isinstance(outcome, PlaygroundError):
            self._answers.labels(outcome.code).inc()
            return
        self._answers.labels(outcome.reason).inc()
        if outcome.stepper is not None:
            self._computed.labels(outcome.stepper).inc()
        self._tokens.labels("prompt").inc(outcome.usage.num_prompt_tokens)
        self._tokens.labels("completion").inc(outcome.usage.num_completion_tokens)
        self._reused.inc(outcome.usage.num_reused_tokens)
        timing = outcome.timing
        self._load.observe(timing.load_ms / 1000)
        self._queued.observe(timing.queued_ms / 1000)
        self._total.observe(timing.total_ms / 1000)
        if timing.first_token_ms is not None:
            self._first_token.observe(timing.first_token_ms / 1000)

    def answered(self, method: str, route: str, status: int) -> None:
        """Counts a request; `route` is the route's pattern, never an address that somebody made up."""
        self._http.labels(method, route, str(status)).inc()

    def text(self) -> bytes:
        """Everything, as a scrape reads it."""
        return generate_latest(self._registry)
