"""One answer as it is heard: a server's chunks into the events of an answer.

Knows chunks and events; refuses to know connections, and what to do about errors.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from playground.errors import InternalError, InvalidRequest
from playground.remote.allowance import Allowance
from playground.remote.asking import scores_prompt
from playground.remote.scores import Pieces, chat_scores, text_scores
from playground.text import StopMatcher
from playground.types import (
    Delta,
    Echo,
    Event,
    Finish,
    FinishReason,
    Job,
    Timing,
    TokenLogprob,
    Usage,
)

REASONS: dict[str, FinishReason] = {
    "stop": "stop",
    "length": "length",
    # TGI's own words.
    "eos_token": "stop",
    "stop_sequence": "stop",
}
NO_USAGE = (
    "The server did not say how many tokens there were: the prompt's are not known, and 0 stands for them; the "
    "answer's are counted as they came, a piece of text for one."
)
BEYOND = (
    "The server wrote on beyond max_tokens, so the connection was closed. Where it gives no scores, a token cannot be "
    "told from its text, so the cut is not exact."
)
NO_SCORES = "The server gave no log-probabilities."


class Hearing:
    """Takes chunks in and emits events. `spoke` once a word, a thought or a score came; `over` once it is known how
    the answer ended."""

    def __init__(self, job: Job, emit: Callable[[Event], None]) -> None:
        self._job, self._emit = job, emit
        self._request = job.request
        self._matcher = StopMatcher(job.request.sampling.stop)
        self._pieces, self._thought = Pieces(), Pieces()
        self._prompt = _Prompt(str(job.request.prompt)) if scores_prompt(job.request) else None
        self._reason: FinishReason | None = None
        self._usage: Usage | None = None
        self._end: TokenLogprob | None = None
        self._allowance = Allowance(job.request.sampling.max_tokens)
        self._beyond = False
        self._sent_at = time.perf_counter()
        self._first_at: float | None = None
        self._last_at: float | None = None
        if job.request.echo and self._prompt is None:
            # Without scores the prompt is known here, and no server is needed to send it back.
            emit(Echo(str(job.request.prompt), (), ()))

    @property
    def spoke(self) -> bool:
        return self._first_at is not None

    @property
    def over(self) -> bool:
        return self._reason is not None

    @property
    def cut(self) -> bool:
        """Whether the answer ended where the server may write on: at a stop string, or at max_tokens."""
        return self._matcher.stopped or self._beyond

    def hear(self, chunk: Any) -> bool:
        """Takes one chunk; True where it brought more of the answer, or its end. Raises `InternalError` for an answer
        that its server broke off, `InvalidRequest` where it does not send the prompt back, and whatever a chunk of no
        known shape leads to."""
        self._usage = _usage_of(chunk) or self._usage
        if self.over or not chunk.choices:
            return False
        choice = chunk.choices[0]
        deltas = list(self._chat(choice) if self._request.messages else self._completion(choice))
        for delta in deltas:
            self._say(delta)
        if choice.finish_reason is not None and not self.cut:
            self._end_with(choice.finish_reason)
        return bool(deltas) or self.over

    def finish(self) -> Finish:
        """The last event, once the answer is over."""
        assert self._reason is not None, "a stream that just ends is an error"
        usage = self._usage or Usage(0, self._allowance.num_tokens)
        wanted_scores = self._request.sampling.logprobs is not None and self._request.sampling.max_tokens > 0
        notes = (
            *((NO_USAGE,) if self._usage is None else ()),
            *((NO_SCORES,) if wanted_scores and self._allowance.has_text and not self._allowance.num_scored else ()),
            *((BEYOND,) if self._beyond else ()),
        )
        seed = self._request.sampling.seed
        return Finish(self._reason, usage, self._timing(), "remote", seed, False, notes, self._end)

    def _chat(self, choice: Any) -> Iterator[Delta]:
        delta = choice.delta
        thought = getattr(delta, "reasoning_content", None) or getattr(delta, "reasoning", None) or ""
        text = delta.content or ""
        pieces = self._thought if thought and not text else self._pieces
        pieces.tell(text or thought)
        scored = tuple(chat_scores(choice, pieces))
        if thought:
            yield Delta(thought, (), True, () if text else scored)
        if text or (scored and not thought):
            yield self._answered(text, scored, choice.finish_reason)

    def _completion(self, choice: Any) -> Iterator[Delta]:
        text = choice.text or ""
        self._pieces.tell(text)
        scored = list(text_scores(choice, self._pieces, self._request.sampling.logprobs or 0))
        if self._prompt is not None and not self._prompt.whole:
            text, scored = self._prompt.take(text, scored)
            if self._prompt.whole:
                self._began()
                self._emit(self._prompt.echo())
        tokens = tuple(one for _, one in scored if one is not None)
        if text or tokens:
            yield self._answered(text, tokens, choice.finish_reason)

    def _answered(self, text: str, scored: tuple[TokenLogprob, ...], reason: str | None) -> Delta:
        """More of the answer. A token that ended it wrote nothing and stands apart."""
        ended = scored and not text and REASONS.get(reason or "") == "stop"
        if ended and not self._pieces.ahead_begins(self._request.sampling.stop):
            self._end = replace(scored[-1], piece="")
            scored = scored[:-1]
        return Delta(text, (), False, scored)

    def _say(self, delta: Delta) -> None:
        if self.cut:
            return
        self._began()
        if not self._allowance.take(delta.text, len(delta.logprobs)):
            self._beyond = True
            self._close("length")
            return
        text = delta.text if delta.thinking else self._matcher.push(delta.text)
        if text or delta.logprobs:
            self._emit(Delta(text, (), delta.thinking, delta.logprobs))
        if self._matcher.stopped:
            self._reason = "stop"

    def _began(self) -> None:
        now = time.perf_counter()
        self._first_at = self._first_at or now
        self._last_at = now

    def _end_with(self, word: str) -> None:
        if word not in REASONS:
            raise InternalError(f"the server broke the answer off: its finish_reason is {word!r}")
        if self._prompt is not None and not self._prompt.whole:
            raise _no_echo()
        self._close(REASONS[word])

    def _close(self, reason: FinishReason) -> None:
        if rest := self._matcher.flush():
            self._emit(Delta(rest))
        self._reason = reason

    def _timing(self) -> Timing:
        job, now = self._job, time.perf_counter()

        def ms(start: float | None, end: float | None) -> float:
            return 0.0 if start is None or end is None else max(0.0, (end - start) * 1000)

        return Timing(
            queued_ms=ms(job.ready_at, self._sent_at),
            load_ms=ms(job.arrived_at, job.ready_at),
            first_token_ms=None if self._first_at is None else ms(job.arrived_at, self._first_at),
            decode_ms=ms(self._first_at, self._last_at),
            total_ms=ms(job.arrived_at, now),
        )


class _Prompt:
    """The prompt as it comes back, ahead of the answer, with its tokens' scores."""

    def __init__(self, prompt: str) -> None:
        self._prompt, self._text = prompt, ""
        self._position = 0
        self._scored: list[tuple[str, TokenLogprob | None]] = []

    @property
    def whole(self) -> bool:
        return len(self._text) >= len(self._prompt)

    def take(
        self, text: str, scored: Sequence[tuple[str, TokenLogprob | None]]
    ) -> tuple[str, list[tuple[str, TokenLogprob | None]]]:
        """Keeps what is the prompt's and gives back the answer's; raises `InvalidRequest` where no prompt comes."""
        text = self._text + text
        if not text.startswith(self._prompt[: len(text)]):
            raise _no_echo()
        self._text, rest = text[: len(self._prompt)], text[len(self._prompt) :]
        answers = []
        for piece, one in scored:
            mine = self._position < len(self._prompt)
            (self._scored if mine else answers).append((piece, one))
            self._position += len(piece)
        return rest, answers

    def echo(self) -> Echo:
        """The whole prompt; raises `InvalidRequest` where it came without scores."""
        if not self._scored:
            raise _no_echo()
        pieces, scores = zip(*self._scored, strict=True)
        return Echo(self._prompt, (), pieces, scores)


def _usage_of(chunk: Any) -> Usage | None:
    """A chunk's usage; None where it has none, or one that says nothing."""
    usage = getattr(chunk, "usage", None)
    num_prompt, num_completion = getattr(usage, "prompt_tokens", None), getattr(usage, "completion_tokens", None)
    if isinstance(num_prompt, int) and isinstance(num_completion, int):
        return Usage(num_prompt, num_completion, _num_reused(usage, num_prompt))
    return None


def _num_reused(usage: Any, num_prompt: int) -> int:
    """Prompt tokens that the server had read before, where it tells so many as there can be."""
    num = getattr(getattr(usage, "prompt_tokens_details", None), "cached_tokens", None)
    return num if isinstance(num, int) and 0 <= num <= num_prompt else 0


def _no_echo() -> InvalidRequest:
    return InvalidRequest("echo: the server that answers for this model does not score prompts", param="echo")
