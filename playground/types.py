"""The words that every part speaks: a model's card, a request, the events of an answer, an engine.

Knows no library but the standard one. Values check themselves when they are made.
"""

from __future__ import annotations

import copy
import math
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, Protocol

from playground.errors import InvalidRequest, PlaygroundError, broken_rule
from playground.evidence import AdapterDetails, Fidelity, Proof, Rendered, Saved, Verdict

Role = Literal["system", "user", "assistant"]
ROLES: tuple[Role, ...] = ("system", "user", "assistant")
MAX_NEW_TOKENS = 4096
MAX_STOPS = 4
MAX_MESSAGES = 10_000
MAX_PROMPT_TOKENS = 1_000_000
"""No model's context holds more; whoever sends more is told so before each token is looked at."""
MAX_LOGPROBS = 20
DRAWN_SEEDS = 1_000_000
"""Seeds that nobody gave are below this: short enough to be typed again."""


@dataclass(frozen=True, slots=True)
class ModelCard:
    """What the catalog knows of a model before anything is loaded.

    `source` is where the base's weights come from: a folder or a Hub repo id. A fine-tuned model has
    `base_model` (the id of a base card) and `adapter` (a PEFT folder or a Hub repo id; of a folder with the time, in
    nanoseconds, at which its weights were written). `run` and `step`
    tie the checkpoints of one training run together. A card with a `problem` is listed and cannot be run.
    With `endpoint` (the address of an OpenAI-compatible server) or `provider` (one of Hugging Face's) another server
    answers, which calls the model `served_model_name`; `api_key_env` names the environment variable with its key.
    """

    id: str
    name: str
    type: Literal["base", "fine-tuned"]
    source: str
    context_length: int | None = None
    base_model: str | None = None
    adapter: str | None = None
    revision: str | None = None
    adapter_revision: str | None = None
    adapter_written_at: int | None = None
    description: str = ""
    owner: str | None = None
    dtype: str | None = None
    device: str | None = None
    chat_template: str | None = None
    endpoint: str | None = None
    provider: str | None = None
    served_model_name: str | None = None
    api_key_env: str | None = None
    merge: Literal["auto", "always", "never"] = "auto"
    run: str | None = None
    step: int | None = None
    problem: str | None = None

    @property
    def is_remote(self) -> bool:
        """Whether another server answers."""
        return self.endpoint is not None or self.provider is not None

    @property
    def name_there(self) -> str:
        """What the other server calls it."""
        return self.served_model_name or self.id


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: Role
    content: str

    def __post_init__(self) -> None:
        if self.role not in ROLES:
            raise broken_rule("messages.role", self.role, f"it must be one of {', '.join(ROLES)}")
        if not isinstance(self.content, str):
            raise broken_rule("messages.content", self.content, "it must be a string")
        _require_text("messages.content", self.content)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, and for which organization. Base models are for everyone; a fine-tune with an owner is for that
    account or organization.

    `everything` is the person at their own machine, who needs no account; `manager` is an account that may do more
    than ask. The default is anybody at all, so that a caller who was forgotten sees too little and never too much.
    """

    account: str | None = None
    org: str | None = None
    everything: bool = False
    manager: bool = False

    @property
    def manages(self) -> bool:
        """Whether this caller may load, unload, add and pin models: an account alone is not enough."""
        return self.everything or self.manager

    def sees(self, card: ModelCard) -> bool:
        """Whether this caller may know that `card` exists."""
        return self.everything or card.owner in (None, self.account, self.org)


ANYBODY = Caller()


def _require(ok: bool, param: str, value: object, rule: str) -> None:
    if not ok:
        raise broken_rule(param, value, rule)


def _require_text(param: str, text: str) -> None:
    """Half of a surrogate pair is no character, and no tokenizer takes it."""
    _require(text.isascii() or not any("\ud800" <= char <= "\udfff" for char in text), param, text, "it must be text")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the next token is chosen. `top_k` 0 is off; `seed` None draws one, which the answer then names.

    Penalties are the vendors': `frequency_penalty` per occurrence, `presence_penalty` once, over generated
    tokens only. `logprobs` None is off, k gives each token's log-probability and its k best alternatives.
    """

    max_tokens: int = 1024
    temperature: float = 0.7
    top_p: float = 1.0
    top_k: int = 0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    logprobs: int | None = None

    def __post_init__(self) -> None:
        self._check_lengths()
        self._check_shape()
        for name in ("frequency_penalty", "presence_penalty"):
            value = getattr(self, name)
            _require(_is_number(value) and -2 <= value <= 2, name, value, "it must be between -2 and 2")
        _require(
            isinstance(self.logit_bias, Mapping), "logit_bias", self.logit_bias, "it must map token ids to numbers"
        )
        for token_id, bias in self.logit_bias.items():
            _require(_is_int(token_id) and token_id >= 0, "logit_bias", token_id, "keys must be token ids")
            _require(_is_number(bias) and -100 <= bias <= 100, "logit_bias", bias, "it must be in -100 to 100")

    def of_choice(self, number: int) -> Sampling:
        """For one of several answers to a prompt: the same seed whatever is asked beside it."""
        if self.seed is None:
            return self
        # 64 bits hold every seed, so the last ones go on from the first.
        return replace(self, seed=(self.seed + number + 2**63) % 2**64 - 2**63)

    def _check_lengths(self) -> None:
        _require(
            _is_int(self.max_tokens) and 0 <= self.max_tokens <= MAX_NEW_TOKENS,
            "max_tokens",
            self.max_tokens,
            f"it must be a whole number from 1 to {MAX_NEW_TOKENS} (0 only scores a prompt)",
        )
        _require(isinstance(self.stop, tuple), "stop", self.stop, "it must be a tuple of strings")
        _require(len(self.stop) <= MAX_STOPS, "stop", self.stop, f"at most {MAX_STOPS} strings are allowed")
        for stop in self.stop:
            _require(isinstance(stop, str) and stop != "", "stop", stop, "each must be a non-empty string")

    def _check_shape(self) -> None:
        ok = _is_number(self.temperature) and 0 <= self.temperature <= 2
        _require(ok, "temperature", self.temperature, "it must be between 0 (greedy) and 2")
        ok = _is_number(self.top_p) and 0 < self.top_p <= 1
        _require(ok, "top_p", self.top_p, "it must be above 0 and at most 1")
        _require(_is_int(self.top_k) and self.top_k >= 0, "top_k", self.top_k, "it must be 0 (off) or more")
        ok = self.seed is None or (_is_int(self.seed) and -(2**63) <= self.seed < 2**63)
        _require(ok, "seed", self.seed, "it must be a whole number of 64 bits")
        ok = self.logprobs is None or (_is_int(self.logprobs) and 0 <= self.logprobs <= MAX_LOGPROBS)
        _require(ok, "logprobs", self.logprobs, f"it must be a whole number from 0 to {MAX_LOGPROBS}")


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """One answer asked of one model: a chat (`messages`) or raw text or token ids (`prompt`), never both.

    `thinking` is passed to chat templates that know it. `strength` scales a fine-tune's LoRA (1 is as
    trained). `echo` asks for the prompt back, scored where log-probabilities are asked. `alone` says that no
    answer of the base is wanted beside this one, so that a merged view may serve it. `continuation` are tokens of
    an answer that stands already: the model reads them after the prompt, and an echo gives back them alone.
    """

    model: str
    messages: tuple[Message, ...] = ()
    prompt: str | tuple[int, ...] | None = None
    sampling: Sampling = field(default_factory=Sampling)
    thinking: bool = False
    strength: float = 1.0
    alone: bool = True
    echo: bool = False
    continuation: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        _require(isinstance(self.model, str) and self.model != "", "model", self.model, "it must name a model")
        _require(
            _is_number(self.strength) and -4 <= self.strength <= 4,
            "strength",
            self.strength,
            "it must be between -4 and 4",
        )
        if self.prompt is not None:
            _require(not self.messages, "prompt", "…", "give either prompt or messages, not both")
            self._check_prompt(self.prompt)
        else:
            self._check_messages()
        ok = isinstance(self.continuation, tuple) and all(_is_int(token_id) for token_id in self.continuation)
        _require(ok, "continuation", self.continuation, "it must be a tuple of token ids")
        scored = self.echo and self.sampling.max_tokens == 0
        _require(scored or not self.continuation, "continuation", "…", "it is for an echo with max_tokens 0 alone")

    def drawn_by(self, sampling: Sampling) -> GenerationRequest:
        """The same request with another sampling; its prompt, which may be long, is not looked at again."""
        other = copy.copy(self)
        object.__setattr__(other, "sampling", sampling)
        return other

    def _check_prompt(self, prompt: object) -> None:
        if isinstance(prompt, str):
            _require_text("prompt", prompt)
        else:
            _require(isinstance(prompt, tuple), "prompt", prompt, "it must be a string or a tuple of token ids")
            assert isinstance(prompt, tuple)
            _require(len(prompt) <= MAX_PROMPT_TOKENS, "prompt", "…", f"at most {MAX_PROMPT_TOKENS} tokens are allowed")
            ok = all(_is_int(token_id) for token_id in prompt)
            _require(ok, "prompt", prompt, "it must be a string or a tuple of token ids")
        _require(bool(prompt), "prompt", prompt, "it must not be empty")

    def _check_messages(self) -> None:
        ok = isinstance(self.messages, tuple) and all(isinstance(message, Message) for message in self.messages)
        _require(ok, "messages", self.messages, "it must be a tuple of messages")
        _require(len(self.messages) > 0, "messages", [], "at least one message is needed")
        _require(len(self.messages) <= MAX_MESSAGES, "messages", "…", f"at most {MAX_MESSAGES} are allowed")
        systems = [i for i, message in enumerate(self.messages) if message.role == "system"]
        _require(systems in ([], [0]), "messages", "system", "there may be one system message, and it comes first")
        _require(self.messages[-1].role != "system", "messages", "system", "a user message must follow it")
        last = self.messages[-1]
        blank = last.role == "user" and not last.content.strip()
        _require(not blank, "messages", last.content, "the last user message must not be empty")


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens: `num_prompt_tokens` went in, `num_completion_tokens` came out (the end token not counted). Of those that
    went in, `num_reused_tokens` had been read before, for another answer."""

    num_prompt_tokens: int
    num_completion_tokens: int
    num_reused_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Timing:
    """Milliseconds, taken once, where the work is done.

    `load_ms` weights or adapter were awaited; `queued_ms` the ready engine was awaited; `first_token_ms`
    from arrival to the first token; `decode_ms` from the first token to the last; `total_ms` all.
    """

    queued_ms: float
    load_ms: float
    first_token_ms: float | None
    decode_ms: float
    total_ms: float

    def tokens_per_second(self, num_completion_tokens: int) -> float | None:
        """Decode speed: tokens after the first one, by the time between the first and the last."""
        if num_completion_tokens < 2 or self.decode_ms <= 0:
            return None
        return (num_completion_tokens - 1) / self.decode_ms * 1000


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """A token with its natural log-probability under the raw logits, and the best alternatives.

    `spelling` is the token read by itself; `piece` what it added to the text (nothing within a character), so
    that pieces join to the text. Alternatives have no piece and no alternatives of their own. `token_id` is None
    where another server scored the token, since servers tell none.
    """

    token_id: int | None
    logprob: float
    spelling: str = ""
    piece: str = ""
    top: tuple[TokenLogprob, ...] = ()

    @property
    def known_id(self) -> int:
        """Its id; raises `InvalidRequest` where it is not known."""
        if self.token_id is None:
            raise InvalidRequest("model: another server answers for it, and tells no token ids", param="model")
        return self.token_id


@dataclass(frozen=True, slots=True)
class Progress:
    """What is being waited for; `fraction` 0 to 1 where it is known."""

    stage: Literal["waiting", "downloading", "loading", "prefill", "saving", "uploading"]
    fraction: float | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Echo:
    """The prompt as the model saw it, where the request asked for it; of a prompt with a continuation, the
    continuation alone. With log-probabilities there is one a token, None for the first, which nothing comes before."""

    text: str
    token_ids: tuple[int, ...]
    pieces: tuple[str, ...]
    logprobs: tuple[TokenLogprob | None, ...] = ()


@dataclass(frozen=True, slots=True)
class Delta:
    """More of the answer. `text` may be empty while bytes of a character or a stop string are held back; another
    server's text has no token ids."""

    text: str
    token_ids: tuple[int, ...] = ()
    thinking: bool = False
    logprobs: tuple[TokenLogprob, ...] = ()


FinishReason = Literal["stop", "length"]
View = Literal["base", "attached", "merged", "remote"]
StepperName = Literal["kernels", "transformers"]
"""What computed an answer's tokens in this process: kernels of our own, or transformers' modules."""


@dataclass(frozen=True, slots=True)
class Finish:
    """The last event of an answer. `view` is what answered; `exact_seed` says whether asking again with `seed`
    gives the same tokens, whatever runs beside it then; `notes` are sentences that the reader should know;
    `end` is the end token with its score, where one ended the answer and scores were asked for; `proof` is what the
    engine can show of what answered; `stepper` what computed it, None where that was elsewhere."""

    reason: FinishReason
    usage: Usage
    timing: Timing
    view: View
    seed: int | None = None
    exact_seed: bool = True
    notes: tuple[str, ...] = ()
    end: TokenLogprob | None = None
    proof: Proof | None = None
    stepper: StepperName | None = None


Event = Progress | Echo | Delta | Finish


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer: the folded stream. `thought` tells of each token whether it is thinking."""

    text: str
    thinking: str
    token_ids: tuple[int, ...]
    logprobs: tuple[TokenLogprob, ...]
    finish: Finish
    echo: Echo | None = None
    thought: tuple[bool, ...] = ()


@dataclass(slots=True)
class Job:
    """One request on its way through an engine.

    `emit` takes events and at last a `Finish` or an error object; it is called from the engine's thread and
    must not block. After `cancelled` is set the engine drops the job within one token, or between two
    layers of a prompt's chunk, and emits `Cancelled`. Clocks are `time.perf_counter` seconds.
    """

    request: GenerationRequest
    card: ModelCard
    emit: Callable[[Event | PlaygroundError], None]
    arrived_at: float
    ready_at: float
    cancelled: threading.Event = field(default_factory=threading.Event)


@dataclass(frozen=True, slots=True)
class Placement:
    """What most of a model's weights are kept in, such as bfloat16 or int8, and on which device it calculates; None
    where that is not known, or where another server has it."""

    dtype: str | None = None
    device: str | None = None


class LoadWatch(Protocol):
    """How a loader tells how far it is, and learns that nobody waits any longer."""

    def report(self, progress: Progress) -> None:
        """Tells everyone who waits; raises `Cancelled` when there is nobody left."""
        ...


class Engine(Protocol):
    """Runs jobs of one loaded base and of the fine-tunes over it. Implementations bring their own threads."""

    def prepare(self, card: ModelCard, watch: LoadWatch) -> None:
        """Makes `card` (the base itself, or a fine-tune of it) ready; blocks; raises `ModelLoadFailed`."""
        ...

    def size_of(self, card: ModelCard, watch: LoadWatch) -> int:
        """Memory that preparing a fine-tune takes beside what is there, known before it is read (downloads it if need
        be); blocks; raises `ModelLoadFailed`."""
        ...

    def submit(self, job: Job) -> None:
        """Takes a job and returns at once."""
        ...

    def render(self, card: ModelCard, request: GenerationRequest) -> Rendered:
        """What `card` would be given for a request; blocks; raises `InvalidRequest` as a job would."""
        ...

    def describe(self, card: ModelCard) -> AdapterDetails:
        """A fine-tune's adapter and where its change lies; blocks."""
        ...

    def check(self, card: ModelCard, request: GenerationRequest, proof: Proof) -> Sequence[Verdict]:
        """Holds an answer's proof against the weights and files as they are now; blocks."""
        ...

    def fidelity(self, card: ModelCard, request: GenerationRequest) -> Sequence[Fidelity]:
        """A fine-tune by row against merged copies of it, on a request's prompt; blocks; raises `InvalidRequest`."""
        ...

    def save(self, card: ModelCard, folder: Path, watch: LoadWatch) -> Saved:
        """Writes a fine-tune, merged, into a new folder; blocks; raises `InvalidRequest` where that is not possible,
        `SaveFailed`, or `Cancelled` out of `watch`."""
        ...

    def memory_of(self, card: ModelCard) -> int:
        """What a model takes now, in bytes: the base without its fine-tunes, nothing where it was not prepared."""
        ...

    def placement(self) -> Placement:
        """In what the base is kept, and where it and its fine-tunes calculate."""
        ...

    def forget(self, card: ModelCard) -> None:
        """Lets go of a fine-tune's memory; no job of it runs. Nothing where it was not prepared."""
        ...

    def close(self) -> None:
        """Ends the threads and lets go of all memory; jobs still running get an error."""
        ...


class EngineLoader(Protocol):
    """Makes engines; `app.py` hands one to the registry."""

    def size_bytes(self, base: ModelCard, watch: LoadWatch) -> int:
        """Memory that loading `base` takes, known before any weight is read (downloads it if need be)."""
        ...

    def device_of(self, base: ModelCard) -> str | None:
        """Where `base` will calculate; at once, None where that is not known yet."""
        ...

    def load(self, base: ModelCard, watch: LoadWatch, has_room: Callable[[int], bool]) -> Engine:
        """Loads a base; blocks; raises `ModelLoadFailed`, or `Cancelled` out of `watch`.

        `has_room` tells the engine whether as many bytes more fit the budget, for extras such as merged views.
        """
        ...


ModelState = Literal["hub", "disk", "loading", "ready", "failed"]


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """A model as the page and the API list it. `size_bytes` on disk, or to download where state is `hub`. `closed` is
    empty, or why nothing of it can be had but its answers: no strength, no prompt as sent, no scores, no proof."""

    card: ModelCard
    state: ModelState
    size_bytes: int | None = None
    thinking: bool = False
    chat: bool = True
    reason: str = ""
    closed: str = ""
