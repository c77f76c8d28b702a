"""What becomes of an answer when the other server is slow, full, broken or gone."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import format_datetime

import pytest

from playground.errors import Cancelled, InternalError, InvalidRequest, ModelLoadFailed, Overloaded
from playground.remote.hearing import NO_SCORES, NO_USAGE
from playground.types import Delta, GenerationRequest, Progress, Sampling, Usage
from tests.drive import PATIENCE, Watch, free_port, start, wait_for
from tests.far import END, LIMITS, QUESTION, Asked, Far, House, event, far_server, said, streams, used


@pytest.fixture
def far() -> Iterator[Far]:
    with far_server() as running:
        yield running


@pytest.fixture
def house(far: Far) -> Iterator[House]:
    built = House(far)
    yield built
    built.close()


WELL = streams(said("Good"), said(" day"), said(finish="stop"), used(5, 3), END)


# --- what is sent ---


def test_what_is_sent(far, house):
    far.answer(WELL)
    sampling = Sampling(
        max_tokens=9, temperature=0.5, top_p=0.9, top_k=4, seed=7, stop=("x",), presence_penalty=1, logit_bias={3: 1.5}
    )
    answer = house.ask(sampling=sampling, thinking=True).answer()

    assert (answer.text, answer.finish.reason) == ("Good day", "stop")
    (asked,) = far.asked
    assert (asked.method, asked.path) == ("POST", "/v1/chat/completions")
    assert asked.body == {
        "model": "m",
        "messages": [{"role": "user", "content": "Hi"}],
        "max_tokens": 9,
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 4,
        "seed": 7,
        "stop": ["x"],
        "presence_penalty": 1,
        "logit_bias": {"3": 1.5},
        "stream": True,
        "stream_options": {"include_usage": True},
        "chat_template_kwargs": {"enable_thinking": True},
    }


def test_nothing_of_the_environment_is_sent(far, house, monkeypatch):
    for name in ("OPENAI_API_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "OPENAI_ADMIN_KEY"):
        monkeypatch.setenv(name, "private")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9")
    far.answer(WELL)
    house.ask().answer()
    assert "private" not in str(far.asked[0].headers)
    assert "authorization" not in far.asked[0].headers


def test_the_key_comes_from_the_variable(far, house):
    far.answer(WELL)
    card = replace(house.card, api_key_env="FAR_KEY")
    house.ask(house.engine(card=card, FAR_KEY=" s3cret\n")).answer()
    assert far.asked[0].headers["authorization"] == "Bearer s3cret"


@pytest.mark.parametrize("status", [400, 422])
def test_what_a_server_does_not_take_is_left_out_from_then_on(far, house, status):
    def refuse(asked: Asked) -> None:
        asked.reply(status, {"detail": "Unsupported fields in the request: {'stream_options'}"})

    far.answer(refuse, WELL)
    engine = house.engine()
    assert house.ask(engine).answer().text == "Good day"
    assert house.ask(engine).answer().text == "Good day"
    assert ["stream_options" in asked.body for asked in far.asked] == [True, False, False]


def test_a_server_is_told_that_all_tokens_count_unless_it_has_no_word_for_it(far, house):
    def refuse(asked: Asked) -> None:
        asked.reply(422, {"error": "`top_p` must be > 0.0 and < 1.0. Leave `top_p` unspecified for no filtering."})

    far.answer(refuse, WELL)
    engine = house.engine()
    house.ask(engine).answer()
    house.ask(engine, sampling=Sampling(top_p=0.5)).answer()
    assert [asked.body.get("top_p") for asked in far.asked] == [1, None, 0.5]


def test_a_server_that_wants_the_newer_limit_gets_it(far, house):
    def refuse(asked: Asked) -> None:
        message = "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."
        asked.reply(400, {"error": {"message": message, "param": "max_tokens", "code": "unsupported_parameter"}})

    far.answer(refuse, WELL)
    engine = house.engine()
    house.ask(engine, sampling=Sampling(max_tokens=9)).answer()
    house.ask(engine, sampling=Sampling(max_tokens=9)).answer()
    assert ["max_tokens" in asked.body for asked in far.asked] == [True, False, False]
    assert far.asked[2].body["max_completion_tokens"] == 9


# --- what comes ---


def test_thinking_stands_apart(far, house):
    def thought(text: str) -> str:
        return event({"choices": [{"index": 0, "delta": {"reasoning_content": text}, "finish_reason": None}]})

    def newer(text: str) -> str:
        return event({"choices": [{"index": 0, "delta": {"reasoning": text}, "finish_reason": None}]})

    far.answer(streams(thought("Let me"), newer(" think"), said("Yes"), said(finish="stop"), used(1, 4), END))
    answer = house.ask().answer()
    assert (answer.thinking, answer.text) == ("Let me think", "Yes")


@pytest.mark.parametrize(("told", "num_reused"), [(4, 4), (0, 0), (9, 0), (-1, 0), (None, 0)])
def test_prompt_tokens_that_were_known_there(far, house, told, num_reused):
    details = {"cached_tokens": told}
    usage = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7, "prompt_tokens_details": details}
    last = event({"id": "1", "object": "chat.completion.chunk", "model": "m", "choices": [], "usage": usage})
    far.answer(streams(said("Good"), said(" day"), said(finish="length"), last, END))
    assert house.ask().answer().finish.usage == Usage(5, 2, num_reused)


def test_no_usage_is_said(far, house):
    far.answer(streams(said("Good"), said(" day"), said(finish="length"), END))
    finish = house.ask().answer().finish
    assert (finish.usage.num_prompt_tokens, finish.usage.num_completion_tokens) == (0, 2)
    assert finish.notes == (NO_USAGE,)
    assert finish.reason == "length"


def test_no_scores_are_said(far, house):
    far.answer(WELL)
    answer = house.ask(sampling=Sampling(logprobs=2)).answer()
    assert far.asked[0].body["logprobs"] is True
    assert far.asked[0].body["top_logprobs"] == 2
    assert (answer.logprobs, answer.finish.notes) == ((), (NO_SCORES,))


def test_scores_of_characters_in_parts_and_of_the_end(far, house):
    def token(text: str, raw: list[int] | None, logprob: float = -1.0) -> dict:
        other = {"token": "no", "logprob": -3.0, "bytes": None}
        return {"token": text, "logprob": logprob, "bytes": raw, "top_logprobs": [other]}

    def scores(*tokens: dict) -> dict:
        return {"logprobs": {"content": list(tokens)}}

    euro = list("€".encode())
    first = said("", **scores(token("bytes:\\xe2", euro[:1])))
    second = said("€", **scores(token("bytes:\\x82\\xac", euro[1:])))
    last = said("", "stop", **scores(token("<|end|>", None)))
    far.answer(streams(first, second, said("!", **scores(token("!", None))), last, used(1, 3), END))
    answer = house.ask(sampling=Sampling(logprobs=1)).answer()

    assert answer.text == "€!"
    assert [(one.piece, one.token_id) for one in answer.logprobs] == [("", None), ("€", None), ("!", None)]
    assert [one.spelling for one in answer.logprobs[0].top] == ["no"]
    assert answer.finish.end is not None
    assert (answer.finish.end.spelling, answer.finish.end.piece) == ("<|end|>", "")


def test_a_server_that_writes_beyond_a_stop_string_is_cut_there(far, house):
    hung_up = threading.Event()

    def script(asked: Asked) -> None:
        asked.begin()
        asked.send(said("One ST"))
        asked.send(said("OP two"))
        asked.wait_until_hung_up()
        hung_up.set()

    far.answer(script)
    answer = house.ask(sampling=Sampling(stop=("STOP",))).answer()
    assert (answer.text, answer.finish.reason) == ("One ", "stop")
    assert hung_up.wait(PATIENCE)


def test_text_that_might_have_begun_a_stop_string_comes_at_the_end(far, house):
    far.answer(streams(said("One ST"), said(finish="stop"), used(1, 2), END))
    assert house.ask(sampling=Sampling(stop=("STOP",))).answer().text == "One ST"


def test_a_stream_that_stays_open_after_the_end_is_not_waited_for(far, house):
    def script(asked: Asked) -> None:
        asked.begin()
        asked.send(said("Good") + said(finish="stop"))
        asked.wait_until_hung_up()

    far.answer(script)
    answer = house.ask().answer()
    assert (answer.text, answer.finish.reason, answer.finish.notes) == ("Good", "stop", (NO_USAGE,))


def test_keep_alives_are_no_tokens(far, house):
    far.answer(streams(": ping\n\n", said("Good"), ": ping\n\n", said(finish="stop"), used(1, 1), END))
    assert house.ask().answer().text == "Good"


# --- what goes wrong on the way ---


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ([said("Good")], "ended without saying how"),
        ([said("Good"), END], "ended without saying how"),
        ([END], "ended without saying how"),
        ([], "ended without saying how"),
        ([said("Good"), "data: {not json\n\n"], "not JSON"),
        ([said("Good"), "data: \x00\x01\x02\x7f\n\n"], "not JSON"),
        ([said("Good"), "data: 42\n\n"], "no part of an answer"),
        ([said("Good"), event({"choices": [{"index": 0, "delta": 7, "finish_reason": None}]})], "no part of an answer"),
        ([said("Good"), event({"choices": 7})], "no part of an answer"),
        ([said("Good"), event({"error": {"message": "CUDA out of memory", "code": 500}})], "CUDA out of memory"),
        ([said("Good"), event({"error": "worker died"})], "worker died"),
        ([said("Good"), said(finish="abort")], "'abort'"),
        ([said("Good"), said(finish="content_filter")], "'content_filter'"),
    ],
)
def test_an_answer_that_breaks_off_is_an_error(far, house, parts, words):
    far.answer(streams(*parts))
    running = house.ask()
    error = running.error()
    assert isinstance(error, InternalError)
    assert words in error.message
    assert len(far.asked) == 1


def test_bytes_that_are_no_text_are_an_error(far, house):
    def script(asked: Asked) -> None:
        asked.begin()
        asked.send(b"data: \xff\xfe\x00garbage\n\n")

    far.answer(script)
    assert isinstance(house.ask().error(), InternalError)


def test_a_connection_that_breaks_in_the_middle_is_an_error_and_never_asked_again(far, house):
    def script(asked: Asked) -> None:
        asked.begin_chunked()
        asked.chunked(said("Good"))

    far.answer(script)
    running = house.ask()
    error = running.error()
    assert isinstance(error, InternalError)
    assert "in the middle of the answer" in error.message
    assert len(far.asked) == 1
    assert [delta.text for delta in running.deltas] == ["Good"]


@pytest.mark.parametrize("kind", ["text/html", "application/json"])
def test_what_is_no_stream_is_said_to_be_none(far, house, kind):
    far.answer(lambda asked: asked.reply(200, "<html>Sign in</html>", kind))
    error = house.ask().error()
    assert isinstance(error, InternalError)
    assert kind in error.message


def test_a_slow_first_token(far, house):
    def script(asked: Asked) -> None:
        asked.begin()
        asked.send(said(role="assistant"))
        asked.wait_until_hung_up()

    far.answer(script)
    error = house.ask(house.engine(replace(LIMITS, first_token=0.3))).error()
    assert isinstance(error, ModelLoadFailed)
    assert "said nothing for 0.3 s" in error.message
    assert len(far.asked) == 1


def test_an_answer_that_stands_still(far, house):
    def script(asked: Asked) -> None:
        asked.begin()
        asked.send(said("Good") + ": ping\n\n")
        asked.wait_until_hung_up()

    far.answer(script)
    error = house.ask(house.engine(replace(LIMITS, next_token=0.3))).error()
    assert isinstance(error, InternalError)
    assert "said nothing more for 0.3 s" in error.message


# --- asking again ---


def refuses(status: int, body: object = None, **headers: str):
    return lambda asked: asked.reply(status, body or {"error": {"message": "no room"}}, **headers)


def hangs_up(asked: Asked) -> None:
    asked.connection.close()


@pytest.mark.parametrize(
    "first", [refuses(429, Retry_After="0"), refuses(500), refuses(503, "later", kind="text/plain"), hangs_up]
)
def test_what_may_pass_is_asked_again(far, house, first):
    far.answer(first, WELL)
    running = house.ask()
    assert running.answer().text == "Good day"
    assert len(far.asked) == 2


def test_retry_after_is_obeyed_and_told(far, house):
    date = format_datetime(datetime.now(UTC), usegmt=True)
    far.answer(refuses(429, Retry_After="0.25"), refuses(429, Retry_After=date), WELL)
    running = house.ask()
    told = []
    while not isinstance(item := running.next(), Delta):
        told += [item.detail] if isinstance(item, Progress) and item.stage == "waiting" else []
    assert [detail.rpartition(" in ")[2] for detail in told] == ["0.2 s", "0.0 s"]


def test_who_would_have_to_wait_long_hears_it_at_once(far, house):
    far.answer(refuses(429, Retry_After="3600"))
    error = house.ask().error()
    assert isinstance(error, Overloaded)
    assert "no room" in error.message
    assert len(far.asked) == 1


def test_it_is_not_asked_for_ever(far, house):
    far.answer(refuses(429, Retry_After="0"))
    assert isinstance(house.ask().error(), Overloaded)
    assert len(far.asked) == 3


def test_nobody_there(house):
    card = replace(house.card, endpoint=f"http://127.0.0.1:{free_port()}/v1")
    engine = house.engine(card=card)
    with pytest.raises(ModelLoadFailed, match="cannot be reached"):
        engine.prepare(card, Watch())
    error = start(engine, card, GenerationRequest("m", QUESTION)).error()
    assert isinstance(error, ModelLoadFailed)
    assert "cannot be reached" in error.message


# --- refusals in the server's own words ---


@pytest.mark.parametrize(
    ("status", "body", "kind", "words", "param"),
    [
        (400, {"error": {"message": "too long", "param": "messages"}}, InvalidRequest, "too long", "messages"),
        (400, {"object": "error", "message": "too long", "param": None}, InvalidRequest, "too long", None),
        (422, {"detail": [{"loc": ["body", "x"], "msg": "extra"}]}, InvalidRequest, "extra", None),
        (413, "request too large", InvalidRequest, "request too large", None),
        (401, {"error": "bad token"}, ModelLoadFailed, "api_key_env", None),
        (403, {"error": {"message": "not yours"}}, ModelLoadFailed, "not yours", None),
        (404, "<html>no such page</html>", ModelLoadFailed, "/v1", None),
        (405, {}, ModelLoadFailed, "405", None),
        (500, {"error": {"message": "boom"}}, InternalError, "boom", None),
        (503, {"error": {"message": "loading"}}, ModelLoadFailed, "loading", None),
    ],
)
def test_refusals(far, house, status, body, kind, words, param):
    far.models = None
    far.answer(lambda asked: asked.reply(status, body))
    error = house.ask(house.engine(replace(LIMITS, num_tries=1))).error()
    assert type(error) is kind
    assert words in error.message
    assert str(status) in error.message
    assert error.param == param


def test_a_refused_key_is_named_by_its_variable_and_never_shown(far, house, caplog):
    def refuse(asked: Asked) -> None:
        asked.reply(401, {"error": {"message": f"bad key {asked.headers['authorization']}"}})

    far.answer(refuse)
    card = replace(house.card, api_key_env="FAR_KEY")
    error = house.ask(house.engine(card=card, FAR_KEY="s3cret")).error()
    assert isinstance(error, ModelLoadFailed)
    assert "FAR_KEY" in error.message
    assert "s3cret" not in error.message + caplog.text


def test_a_model_that_is_not_there_is_told_with_those_that_are(far, house):
    far.models = ["one", "two"]
    far.answer(refuses(404, {"error": {"message": "The model `m` does not exist."}}))
    error = house.ask().error()
    assert isinstance(error, ModelLoadFailed)
    assert "one, two" in error.message


# --- getting ready ---


def test_a_server_that_lists_is_held_to_it(far, house):
    engine = house.engine()
    watch = Watch()
    engine.prepare(house.card, watch)
    assert watch.heard
    with pytest.raises(ModelLoadFailed, match="does not serve 'other'; it serves m"):
        engine.prepare(replace(house.card, served_model_name="other"), Watch())
    assert (engine.size_of(house.card, watch), engine.memory_of(house.card), far.asked) == (0, 0, [])


def test_an_adapter_may_be_called_by_its_base_and_its_name(far, house):
    engine = house.engine()
    engine.prepare(replace(house.card, served_model_name="m:adapter"), Watch())
    with pytest.raises(ModelLoadFailed, match="'n:adapter'"):
        engine.prepare(replace(house.card, served_model_name="n:adapter"), Watch())


@pytest.mark.parametrize("models", [None, []])
def test_where_none_are_listed_the_first_request_decides(far, house, models):
    far.models = models
    house.engine().prepare(house.card, Watch())


def test_a_check_is_given_up_when_nobody_waits(house):
    import socket

    class Gone:
        def report(self, progress: Progress) -> None:
            raise Cancelled("nobody waits")

    with socket.create_server(("127.0.0.1", 0)) as silent:
        card = replace(house.card, endpoint=f"http://127.0.0.1:{silent.getsockname()[1]}/v1")
        with pytest.raises(Cancelled):
            house.engine(card=card).prepare(card, Gone())


# --- hanging up ---


@pytest.mark.parametrize("when", ["prefill", "silent", "streaming"])
def test_a_cancelled_answer_closes_its_connection(far, house, when):
    reached, hung_up = threading.Event(), threading.Event()

    def script(asked: Asked) -> None:
        if when != "prefill":
            asked.begin()
        if when == "streaming":
            asked.send(said("Good"))
        reached.set()
        asked.wait_until_hung_up()
        hung_up.set()

    far.answer(script)
    running = house.ask()
    assert reached.wait(PATIENCE)
    if when == "streaming":
        wait_for(lambda: isinstance(running.next(), Delta))
    running.job.cancelled.set()
    assert isinstance(running.error(), Cancelled)
    assert hung_up.wait(PATIENCE)


def test_a_cancelled_answer_is_not_asked_again(far, house):
    far.answer(refuses(429, Retry_After="15"))
    running = house.ask()
    wait_for(lambda: isinstance(item := running.next(), Progress) and item.stage == "waiting")
    running.job.cancelled.set()
    assert isinstance(running.error(), Cancelled)


def test_closing_hangs_up_and_tells_everybody(far, house):
    reached = threading.Semaphore(0)

    def script(asked: Asked) -> None:
        asked.begin()
        reached.release()
        asked.wait_until_hung_up()

    far.answer(script)
    engine = house.engine()
    running = [house.ask(engine) for _ in range(3)]
    for _ in running:
        assert reached.acquire(timeout=PATIENCE)
    engine.close()
    for one in running:
        assert "unloaded in the middle" in one.error().message
    assert "unloaded before" in house.ask(engine).error().message


# --- what no other server can do ---


@pytest.mark.parametrize(
    ("settings", "param", "words"),
    [
        ({"strength": 0.5}, "strength", "only 1 is possible"),
        ({"prompt": (1, 2)}, "prompt", "send text"),
        ({"sampling": Sampling(max_tokens=0)}, "max_tokens", "scores no chat prompts"),
        ({"echo": True}, "echo", "does not show what it reads"),
        (
            {"prompt": "x", "echo": True, "continuation": (1,), "sampling": Sampling(max_tokens=0, logprobs=1)},
            "continuation",
            "takes no token ids",
        ),
    ],
)
def test_what_cannot_be_asked_is_refused_before_anything_is_sent(far, house, settings, param, words):
    error = house.ask(**settings).error()
    assert isinstance(error, InvalidRequest)
    assert (error.param, words in error.message) == (param, True)
    assert far.asked == []


def test_a_prompt_that_is_not_sent_back_is_not_scored(far, house):
    for parts in (
        [{"text": "no echo", "finish_reason": "length"}],
        [{"text": "x", "logprobs": None, "finish_reason": "length"}],
    ):
        far.answer(streams(*(event({"choices": [{"index": 0, **part}]}) for part in parts), END))
        error = house.ask(prompt="x", echo=True, sampling=Sampling(max_tokens=0, logprobs=1)).error()
        assert isinstance(error, InvalidRequest)
        assert error.param == "echo"


def test_what_is_inside_stays_there(far, house):
    from playground.evidence import Proof

    engine, request = house.engine(), GenerationRequest("m", QUESTION)
    proof = Proof("m", None, None, "", None, None, 1.0, ())
    for question in (
        lambda: engine.render(house.card, request),
        lambda: engine.describe(house.card),
        lambda: engine.check(house.card, request, proof),
        lambda: engine.fidelity(house.card, request),
    ):
        with pytest.raises(InvalidRequest, match="answers for it, and does not show"):
            question()
