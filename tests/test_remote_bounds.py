"""What becomes of an answer that never ends, or is larger than any answer is, or whose end is spoiled."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from playground.errors import InternalError, ModelLoadFailed
from playground.remote.hearing import BEYOND, NO_USAGE
from playground.types import Sampling
from tests.drive import Watch, free_port
from tests.far import END, LIMITS, Asked, Far, House, event, far_server, said, streams, used

MEBIBYTE = "x" * 2**20


@pytest.fixture
def far() -> Iterator[Far]:
    """Its scripts have ended with the test: what is sent until it is hung up on was hung up on."""
    with far_server() as running:
        yield running


@pytest.fixture
def house(far: Far) -> Iterator[House]:
    built = House(far)
    yield built
    built.close()


def for_ever(text: str, first: str = ""):
    """A script that sends `first`, then the same text until it is hung up on."""

    def script(asked: Asked) -> None:
        asked.begin()
        asked.send(first)
        asked.send_until_hung_up(text)

    return script


def written(text: str, scores: dict | None = None) -> str:
    """One chunk of a completion."""
    return event({"choices": [{"index": 0, "text": text, "logprobs": scores, "finish_reason": None}]})


# --- max_tokens ---


@pytest.mark.parametrize("settings", [{}, {"sampling": Sampling(max_tokens=20)}, {"sampling": Sampling(max_tokens=1)}])
def test_a_server_that_never_ends_is_cut_off(far, house, settings):
    far.answer(for_ever(said("tick ")))
    answer = house.ask(**settings).answer()
    max_tokens = settings.get("sampling", Sampling()).max_tokens
    assert (answer.finish.reason, answer.finish.notes) == ("length", (NO_USAGE, BEYOND))
    assert answer.text.startswith("tick " * max_tokens)
    assert len(answer.text) <= 16 * (max_tokens + 16)
    assert answer.finish.usage.num_completion_tokens == answer.text.count("tick ")


def test_thoughts_that_never_end_are_cut_off(far, house):
    thought = event({"choices": [{"index": 0, "delta": {"reasoning_content": "Let me see. "}, "finish_reason": None}]})
    far.answer(for_ever(thought))
    answer = house.ask(sampling=Sampling(max_tokens=20)).answer()
    assert (answer.text, answer.finish.reason) == ("", "length")


def test_raw_text_that_never_ends_is_cut_off(far, house):
    far.answer(for_ever(written("tick ")))
    assert house.ask(prompt="Hi", sampling=Sampling(max_tokens=20)).answer().finish.reason == "length"


def test_where_tokens_come_with_scores_they_are_counted(far, house):
    score = {"tokens": ["a"], "token_logprobs": [-1.0], "top_logprobs": [{"a": -1.0}], "text_offset": [0]}
    far.answer(for_ever(written("a", score)))
    answer = house.ask(prompt="Hi", sampling=Sampling(max_tokens=20, logprobs=1)).answer()
    assert (answer.finish.reason, answer.finish.notes[-1]) == ("length", BEYOND)
    assert len(answer.logprobs) == 20 + 16


def test_what_was_held_back_comes_before_the_cut(far, house):
    far.answer(for_ever(said("tick ST")))
    answer = house.ask(sampling=Sampling(max_tokens=20, stop=("STOP",))).answer()
    assert answer.text.endswith("ST")


def test_pieces_that_hold_less_than_a_token_are_no_more_tokens(far, house):
    """As a gateway sends them that streams character by character."""
    text = "A token is several characters, mostly. " * 3
    far.answer(streams(*(said(letter) for letter in text), said(finish="stop"), used(5, 24), END))
    answer = house.ask(sampling=Sampling(max_tokens=24)).answer()
    assert (answer.text, answer.finish.reason, answer.finish.notes) == (text, "stop", ())


def test_pieces_that_hold_many_tokens_are_let_through(far, house):
    """As a server sends them that gathers what it writes, and writes long tokens."""
    text = "-" * 60 * 24
    far.answer(streams(said(text[:900]), said(text[900:]), said(finish="length"), used(5, 24), END))
    answer = house.ask(sampling=Sampling(max_tokens=24)).answer()
    assert (answer.text, answer.finish.reason, answer.finish.notes) == (text, "length", ())


def test_one_piece_that_no_tokens_can_be_is_not_handed_on(far, house):
    far.answer(streams(said("Good"), said(MEBIBYTE), said(finish="stop"), END))
    answer = house.ask(sampling=Sampling(max_tokens=20)).answer()
    assert (answer.text, answer.finish.reason, answer.finish.notes) == ("Good", "length", (NO_USAGE, BEYOND))


def test_an_answer_has_a_time_to_end_in(far, house):
    def script(asked: Asked) -> None:
        asked.begin()
        asked.send(said("Good"))
        asked.wait_until_hung_up()

    far.answer(script)
    error = house.ask(house.engine(replace(LIMITS, whole=0.3))).error()
    assert isinstance(error, InternalError)
    assert "was not done after 0.3 s" in error.message


# --- bytes ---


@pytest.mark.parametrize("first", ["data: ", ": ", said("Good") + "data: "])
def test_a_line_that_never_ends_is_the_servers_fault(far, house, first):
    far.answer(for_ever(MEBIBYTE, first))
    error = house.ask().error()
    assert isinstance(error, InternalError)
    assert f"127.0.0.1:{far.port}: it sent more than 16 MiB in one line" in error.message


def test_a_long_prompt_comes_back_with_its_scores_in_one_event(far, house):
    prompt = "x" * 20_000
    best = {f"a spelling of some length {number}": -2.0 for number in range(5)}
    scores = {"tokens": list(prompt), "token_logprobs": [None, *[-1.0] * 19_999], "top_logprobs": [best] * 20_000}
    end = {"index": 0, "text": "", "logprobs": None, "finish_reason": "length"}
    far.answer(streams(written(prompt, scores), event({"choices": [end]}), END))
    answer = house.ask(prompt=prompt, echo=True, sampling=Sampling(max_tokens=0, logprobs=5)).answer()
    assert answer.echo is not None
    assert (len(answer.echo.logprobs), answer.finish.reason) == (20_000, "length")


@pytest.mark.parametrize("line", [f": {MEBIBYTE}\n", f"data: {MEBIBYTE}\n"])
def test_lines_that_never_end_are_the_servers_fault(far, house, line):
    far.answer(for_ever(line))
    error = house.ask().error()
    assert isinstance(error, InternalError)
    assert "it sent more than 64 MiB for one answer" in error.message


@pytest.mark.parametrize("status", [400, 500])
def test_a_refusal_that_never_ends_is_the_servers_fault(far, house, status):
    def script(asked: Asked) -> None:
        asked.send(f"HTTP/1.1 {status} So\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n")
        asked.send_until_hung_up(MEBIBYTE)

    far.answer(script)
    error = house.ask().error()
    assert isinstance(error, InternalError)
    assert "16 MiB" in error.message


def test_a_list_of_models_that_is_too_long_is_none(far, house):
    far.models = [MEBIBYTE * 17]
    house.engine().prepare(house.card, Watch())


def test_a_small_answer_that_unfolds_into_a_large_one_is_not_unfolded(far, house):
    import gzip

    packed = gzip.compress(said("Good").encode())

    def script(asked: Asked) -> None:
        assert asked.headers["accept-encoding"] == "identity"
        asked.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Encoding: gzip\r\n\r\n")
        asked.send(packed)

    far.answer(script)
    error = house.ask().error()
    assert isinstance(error, InternalError)
    assert "gzip" in error.message


# --- after the end ---


@pytest.mark.parametrize(
    "usage",
    [
        {"prompt_tokens": None, "completion_tokens": 3, "total_tokens": None},
        {"prompt_tokens": "five", "completion_tokens": 3},
        {},
        7,
    ],
)
def test_a_usage_that_says_nothing_spoils_no_answer(far, house, usage):
    far.answer(streams(said("Good"), said(finish="stop"), event({"choices": [], "usage": usage}), END))
    answer = house.ask().answer()
    assert (answer.text, answer.finish.reason, answer.finish.notes) == ("Good", "stop", (NO_USAGE,))


@pytest.mark.parametrize(
    "rest",
    [
        "data: {not json\n\n",
        event({"choices": 7}),
        event({"error": {"message": "usage"}}),
        said(" day"),
        said(finish="length"),
    ],
)
def test_what_follows_the_end_changes_nothing(far, house, rest):
    far.answer(streams(said("Good"), said(finish="stop"), rest, END))
    answer = house.ask().answer()
    assert (answer.text, answer.finish.reason) == ("Good", "stop")


@pytest.mark.parametrize("rest", [used(5, 3), said("tick "), ": ping\n\n"])
def test_what_follows_the_end_for_ever_is_not_waited_for(far, house, rest):
    far.answer(for_ever(rest, said("Good") + said(finish="stop")))
    answer = house.ask().answer()
    assert (answer.text, answer.finish.reason) == ("Good", "stop")


# --- elsewhere ---


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_server_that_points_elsewhere_is_told_and_not_followed(far, house, status):
    there = f"http://127.0.0.1:{free_port()}/v1/chat/completions"
    far.answer(lambda asked: asked.reply(status, "", Location=there))
    error = house.ask().error()
    assert isinstance(error, ModelLoadFailed)
    assert f"127.0.0.1:{far.port} answered {status}" in error.message
    assert there in error.message
    assert "endpoint" in error.message
    assert len(far.asked) == 1
