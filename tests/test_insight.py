"""The difference of two answers: by sentence and line, and field by field."""

from __future__ import annotations

import random
import time

import pytest

from playground.insight import FieldDifference, Segment, difference, is_json, json_difference


def words(segments: list[Segment], *kinds: str) -> str:
    return " ".join(" ".join(part.text for part in segments if part.kind in kinds).split())


def test_sentences_and_lines_are_told_apart():
    left = "Hello! Your parcel is late. It comes on Monday.\nBye"
    right = "Hello! Your parcel is lost. It comes on Monday.\nBye"
    assert difference(left, right) == [
        Segment("same", "Hello! "),
        Segment("removed", "Your parcel is late. "),
        Segment("added", "Your parcel is lost. "),
        Segment("same", "It comes on Monday.\nBye"),
    ]


def test_white_space_alone_is_no_difference():
    assert {part.kind for part in difference("One.  Two.\n\nThree.", "One.\nTwo. Three.\n")} == {"same"}


def test_sentences_of_other_scripts():
    segments = difference("你好。今天下雨。", "你好。今天晴。")
    assert [part.kind for part in segments] == ["same", "removed", "added"]
    assert segments[0].text == "你好。"


@pytest.mark.parametrize(("left", "right"), [("", ""), ("", "One."), ("One.", ""), ("   ", "\n")])
def test_empty_sides(left, right):
    segments = difference(left, right)
    assert words(segments, "same", "removed") == left.strip()
    assert words(segments, "same", "added") == right.strip()


def test_nothing_is_lost_on_random_texts():
    rng = random.Random(7)
    alphabet = ["Yes. ", "No! ", "v1.2 ", "a", "\n", "\n\n", " ", "Ha?! ", "。", "…", "🙂 "]
    for _ in range(300):
        left, right = ("".join(rng.choices(alphabet, k=rng.randrange(30))) for _ in range(2))
        segments = difference(left, right)
        assert "".join(part.text for part in segments if part.kind != "added") == left
        assert words(segments, "same", "added").replace(" ", "") == "".join(right.split())


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("ha. " * 4096, "ho. ha. " * 2048),
        ("a\n" * 8000, "b\n" * 8000),
        ("no end " * 4096, "!?" * 8000),
        (" " * 16000, ".\n" * 8000),
    ],
)
def test_the_longest_answers_take_no_time(left, right):
    started_at = time.perf_counter()
    difference(left, right)
    assert time.perf_counter() - started_at < 1


def test_json_by_field():
    left = '{"intent": "refund", "items": [{"id": 1}, {"id": 2}], "note": null, "urgent": true}'
    right = '```json\n{"intent": "order", "items": [{"id": 1.0}], "urgent": 1, "the reply": "Hi"}\n```'
    assert json_difference(left, right) == [
        FieldDifference("intent", "changed", '"refund"', '"order"'),
        FieldDifference("items[0].id", "same", "1", "1.0"),
        FieldDifference("items[1].id", "removed", "2", None),
        FieldDifference("note", "removed", "null", None),
        FieldDifference("urgent", "changed", "true", "1"),
        FieldDifference('["the reply"]', "added", None, '"Hi"'),
    ]


def test_json_of_other_shapes():
    assert json_difference("{}", "[]") == [FieldDifference("(all)", "changed", "{}", "[]")]
    assert json_difference("[1, 2]", "[1]") == [
        FieldDifference("[0]", "same", "1", "1"),
        FieldDifference("[1]", "removed", "2", None),
    ]


@pytest.mark.parametrize("text", ["", "Hello.", '"text"', "12", '{"a": ', "[" * 100_000, '{"a": 1} and more'])
def test_what_is_not_an_object_or_array_has_no_fields(text):
    assert json_difference(text, "{}") is None
    assert not is_json(text)
