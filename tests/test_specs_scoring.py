"""Scoring: each kind of assertion, each shape of constraint, expected answers, and what is said of a failure."""

from __future__ import annotations

import json
import math

import pytest
from pydantic import TypeAdapter

from playground.specs import Case, Score, is_json, no_answer, parse_assertion, parse_spec, read_constraint
from playground.specs import score as score_of
from playground.specs.scoring import MAX_FAILURE_CHARS
from playground.types import Message


def a_case(expected: str | None, *rules: str) -> Case:
    return Case((Message("user", "hi"),), expected, tuple(map(parse_assertion, rules)))


def score(answer: str, expected: str | None, *rules: str, constraints: tuple[str, ...] = ()) -> Score:
    return score_of(a_case(expected, *rules), tuple(map(read_constraint, constraints)), answer)


@pytest.mark.parametrize(
    ("rule", "answer", "failure"),
    [
        ("contains:Mill Street", "At 12 Mill Street.", None),
        ("contains:mill street", "At 12 Mill Street.", "the answer does not contain it"),
        ("contains:a:b", "see a:b", None),
        ("contains: ", "nospace", "the answer does not contain it"),
        ("not-contains:sorry", "All good, Sorry.", None),
        ("not-contains:sorry", "I'm sorry.", "the answer contains it"),
        ('matches:"intent":\\s*"refund"', '{"intent": "refund"}', None),
        ('matches:"intent":\\s*"refund"', '{"intent": "return"}', "nothing in the answer matches"),
        ("matches:^a.c$", "xabc", "nothing in the answer matches"),
        ("matches:b", "abc", None),
        ("matches:B", "abc", "nothing in the answer matches"),
        ("matches:(?i)HELLO", "oh, hello", None),
        ("matches:^$", "", None),
        ("max-length:5", "12345", None),
        ("max-length:5", "123456", "the answer has 6 characters"),
        ("max-length:1", "é", None),
        ("max-length:0", "", None),
        ("min-length:2", "ab", None),
        ("min-length:2", "a", "the answer has 1 characters"),
        ("is-json", '{"a": 1}', None),
        ("is-json", " [1, 2]\n", None),
        ("is-json", '"text"', None),
        ("is-json", "", "the answer is not one JSON value and nothing else"),
        ("is-json", "{'a': 1}", "the answer is not one JSON value and nothing else"),
        ("is-json", 'Sure: {"a": 1}', "the answer is not one JSON value and nothing else"),
        ("is-json", '{"a": 1} Done.', "the answer is not one JSON value and nothing else"),
        ("is-json", '{"a": NaN}', "the answer is not one JSON value and nothing else"),
        ("is-json", "[" * 200_000, "the answer is not one JSON value and nothing else"),
    ],
)
def test_assertions(rule: str, answer: str, failure: str | None):
    assertion = parse_assertion(rule)
    assert assertion.failure(answer) == failure
    assert assertion.holds(answer) is (failure is None)
    assert str(assertion) == rule
    told = (f"{rule}: {failure}",) if failure else ()
    assert score(answer, None, rule) == Score(failure is None, told, None, None, None)


def test_is_json_wants_the_whole_text():
    assert is_json("null")
    assert not is_json("null null")


@pytest.mark.parametrize(
    ("pattern", "answer"),
    [("(a+)+$", "a" * 5000 + "b"), ("^(([a-z])+.)+[A-Z]([a-z])+$", "a" * 16_000)],
)
def test_a_pattern_that_would_take_for_ever_is_a_failure(pattern: str, answer: str):
    result = score(answer, None, f"matches:{pattern}")
    assert not result.passed
    assert result.failures[0].startswith(f"matches:{pattern}: the pattern took more than 1 s on this answer")


def test_one_spec_with_every_kind_of_assertion():
    rules = ["contains:refund", "not-contains:sorry", "matches:^\\{", "max-length:40", "min-length:10", "is-json"]
    case = {"input": "hi", "assert": rules}
    [case] = parse_spec({"name": "n", "system_prompt": "", "base_model": "b", "eval_cases": [case]}).cases
    assert score_of(case, (), '{"intent": "refund"}') == Score(True, (), None, None, None)
    assert score_of(case, (), "sorry" * 9).failures == (
        "contains:refund: the answer does not contain it",
        "not-contains:sorry: the answer contains it",
        "matches:^\\{: nothing in the answer matches",
        "max-length:40: the answer has 45 characters",
        "is-json: the answer is not one JSON value and nothing else",
    )
    assert score_of(case, (), "{").failures[1] == "min-length:10: the answer has 1 characters"


WITHOUT = "Checked, by whole words, letter case aside: the answer must not contain "
WITH = "Checked, by whole words, letter case aside: the answer must contain "
STARTS = "Checked, by whole words, letter case aside: the answer must start with "
ENDS = "Checked, by whole words, letter case aside: the answer must end with "
JSON = "Checked: the whole answer must be JSON."


@pytest.mark.parametrize(
    ("text", "reading"),
    [
        *(
            (f"Never {verb} 'API keys'", f"{WITHOUT}“API keys”.")
            for verb in ["share", "mention", "include", "reveal", "use", "say", "output"]
        ),
        *((f"Never {verb} “API keys”", f"{WITHOUT}“API keys”.") for verb in ["return", "give", "provide", "show"]),
        *((f"never {verb} `API keys`", f"{WITHOUT}“API keys”.") for verb in ["disclose", "expose"]),
        ('You must never share "API keys"!', f"{WITHOUT}“API keys”."),
        ('Must never share  "API\nkeys" in any answer.', f"{WITHOUT}“API keys”."),
        ("Never mention AI.", f"{WITHOUT}“AI”."),
        ("Never mention Juniper Lane!", f"{WITHOUT}“Juniper Lane”."),
        ("Never mention GPT 4 or Claude", f"{WITHOUT}“GPT 4”; the answer must not contain “Claude”."),
        ("Never mention One Two Three", f"{WITHOUT}“One Two Three”."),
        ("Never mention 東京.", f"{WITHOUT}“東京”."),
        ("Never say no.", f"{WITHOUT}“no”."),
        ('Never say "cheap."', f"{WITHOUT}“cheap”."),
        ("Never say 'cheap' or “free”.", f"{WITHOUT}“cheap”; the answer must not contain “free”."),
        (
            "Never say ‘don’t know’, 'can't help' or `n/a`",
            f"{WITHOUT}“don’t know”; the answer must not contain “can't help”; the answer must not contain “n/a”.",
        ),
        ("Never use the word cheap.", f"{WITHOUT}“cheap”."),
        ("Never use the word 'cat'", f"{WITHOUT}“cat”."),
        ("Never use the words „billig“ or «gratis».", f"{WITHOUT}“billig”; the answer must not contain “gratis”."),
        ("Never say '.'", f"{WITHOUT}“.”."),
        ("Always mention Juniper Lane", f"{WITH}“Juniper Lane”."),
        ("Always say please", f"{WITH}“please”."),
        ("Always say Sir or Madam.", f"{WITH}“Sir” or “Madam”."),
        ("You must always contain 'a' and 'b'", f"{WITH}“a”; the answer must contain “b”."),
        ("Always include 'a' or 'b' in your answer.", f"{WITH}“a” or “b”."),
        ("Always start with Hello", f"{STARTS}“Hello”."),
        ("Always begin with 'Hello, friend'", f"{STARTS}“Hello, friend”."),
        ("Always begin your answer with Hello or 'Hi'.", f"{STARTS}“Hello” or “Hi”."),
        ("Always start every response with Hi or Ho", f"{STARTS}“Hi” or “Ho”."),
        ("Always end with 'Thank you.'", f"{ENDS}“Thank you”."),
        ("Must always end the reply with “Thank you.”", f"{ENDS}“Thank you”."),
        *((f"Always {verb} in valid JSON.", JSON) for verb in ["respond", "reply", "answer", "return", "output"]),
        ("Always respond with JSON", JSON),
        ("Always output as strict JSON", JSON),
        ("Always reply in only JSON", JSON),
        ("Always return only valid JSON", JSON),
        ("Always return JSON only", JSON),
        ("Always return a single JSON object and nothing else.", JSON),
        ("You must always answer in JSON format, no other text.", JSON),
        ("Only return valid JSON.", JSON),
        ("Only output json", JSON),
        ("Must only respond with a JSON object", JSON),
        ("Return only valid JSON", JSON),
        ("Always use JSON", JSON),
        ("Always return JSON with the keys a and b", f"{JSON} What more is said of it is not checked."),
        ('Always return a JSON object: {"a": 1}', f"{JSON} What more is said of it is not checked."),
    ],
)
def test_constraints_that_are_checked(text: str, reading: str):
    constraint = read_constraint(text)
    assert (constraint.text, constraint.reading, constraint.enforced) == (text, reading, True)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "nothing that can be looked up"),
        ("Be kind.", "nothing that can be looked up"),
        ("Do not mention prices", "nothing that can be looked up"),
        ("Never shout", "nothing that can be looked up"),
        ("Never say", "nothing that can be looked up"),
        ("They never say no", "nothing that can be looked up"),
        ("Always respond in French", "nothing that can be looked up"),
        ("Never answer in JSON", "nothing that can be looked up"),
        ("Answer in JSON", "nothing that can be looked up"),
        *(
            (text, "put the words to look for in quotes")
            for text in [
                "Always use English.",
                "Always use formal language",
                "Always use Markdown",
                "Always use bullet points",
                "Always use metric units",
                "Always include sources.",
                "Always include the date",
                "Always include price and currency",
                "Always include the word count",
                "Always include a disclaimer",
                "Always start with capital letter",
                "Always Start With Capital Letter",
                "ALWAYS START WITH A CAPITAL LETTER",
                "Always end with an open question",
                "Always end with Thank you",
                "Always say why",
                "Never use emojis",
                "Never use Markdown",
                "Never use profanity",
                "Never use uppercase",
                "Never use the words below",
                "Never share personal data",
                "Never give medical advice",
                "Never mention another shop.",
                "Never mention One Two Three Four",
                "Never mention Marks and Spencer",
                "Never mention prices. Be kind.",
                "Never mention AI. Be Kind.",
                "Never say anything rude",
                "Never say 'sorry' to customers",
                "Never use “smart” quotes",
                "Always use 'formal' language",
                "Never say ' '",
                "Never say “” or 'a'",
                "Always include 'a', 'b' or things like that",
            ]
        ),
        ("Never say 'yes' unless asked", "what “unless” depends on"),
        ("Never say anything but 'yes'", "what “but” depends on"),
        ("Never mention prices unless asked", "what “unless” depends on"),
        ("Always use 'Sir', never 'Mate'", "what “never” depends on"),
        ("Always start with 'Hi' and end with 'Bye'", "put the words to look for in quotes"),
        ("Always start with 'Hi' and 'Ho'", "several phrases in one place"),
        ("Always include 'a' and 'b' or 'c'", "both “and” and “or”"),
        ("Always respond in JSON unless asked", "what follows “JSON”"),
        ("Always return JSON with a key, except when asked", "what follows “JSON”"),
        ("Always respond in JSON Lines", "what follows “JSON”"),
        ("Never mention " + "a" * 500, "more than 500 characters"),
    ],
)
def test_constraints_that_are_not_checked(text: str, why: str):
    constraint = read_constraint(text)
    assert constraint.reading.startswith("Not checked: ")
    assert why in constraint.reading
    assert not constraint.enforced
    assert score("anything", None, constraints=(text,)).passed


@pytest.mark.parametrize(
    ("text", "answer", "failure"),
    [
        ("Never mention 'another shop'.", "Try ANOTHER\n shop!", "the answer contains “another shop”"),
        ("Never mention 'another shop'.", "Try this shop!", None),
        ("Never mention AI.", "Your email, please", None),
        ("Never mention AI.", "I am an ai.", "the answer contains “AI”"),
        ("Never mention AI.", "AI's", "the answer contains “AI”"),
        ("Never mention AI.", "私はAIです", "the answer contains “AI”"),
        ("Never say no.", "I know", None),
        ("Never say no.", "No!", "the answer contains “no”"),
        ("Never use the word 'cat'", "by category", None),
        ("Never use the word 'cat'", "a snake_cat", None),
        ("Never use the word 'cat'", "cat9", None),
        ("Never use the word 'cat'", "Cat-like", "the answer contains “cat”"),
        ("Never say 'caf'", "café", None),
        ("Never say 'caf'", "cafe\u0301", None),
        ("Never say 'cafe\u0301'", "CAFÉ", "the answer contains “cafe\u0301”"),
        ("Never say 'Straße'", "STRASSE", "the answer contains “Straße”"),
        ("Never say 'कम'", "कमल", None),
        ("Never say 'कम'", "कमी", None),
        ("Never say 'кот'", "который", None),
        ("Never say '!'", "Hey!you", "the answer contains “!”"),
        ("Never say 'C++'", "c++20", "the answer contains “C++”"),
        ("Never say 'C++'", "abc++", None),
        ("Never say '日本'", "これは日本語です", "the answer contains “日本”"),
        ("Never say 'サーバー'", "サーバーABC", "the answer contains “サーバー”"),
        ("Never say '서울'", "서울은", "the answer contains “서울”"),
        ("Never say 'ไทย'", "ภาษาไทยยาก", "the answer contains “ไทย”"),
        ("Never say 'a' or 'b'", "b", "the answer contains “b”"),
        ("Always include 'a' and 'b'", "A", "the answer does not contain “b”"),
        ("Always include 'a' or 'b'", "x B", None),
        ("Always include 'a' or 'b'", "x", "the answer does not contain “a” or “b”"),
        ("Always start with Hello", "\n hello, you", None),
        ("Always start with Hello", "Hellos", "the answer does not start with “Hello”"),
        ("Always start with Hello", "Oh, hello", "the answer does not start with “Hello”"),
        ("Always end with “Thank you.”", "Bye. Thank you.\n", None),
        ("Always end with “Thank you.”", "Bye. thank you", None),
        ("Always end with “Thank you.”", "Thank you. Bye.", "the answer does not end with “Thank you”"),
        ("Always end with 'bye'", "Goodbye.", "the answer does not end with “bye”"),
        ("Always end with '.'", "Bye", "the answer does not end with “.”"),
        ("Always end with '.'", "Bye.", None),
        ("Always answer in valid JSON.", "{}", None),
        ("Always answer in valid JSON.", "Hi", "the answer is not one JSON value and nothing else"),
    ],
)
def test_constraints_hold_for_every_case(text: str, answer: str, failure: str | None):
    told = (f"{text.rstrip('.')}: {failure}",) if failure else ()
    assert score(answer, None, "min-length:0", constraints=(text,)).failures == told


def test_a_broken_constraint_fails_an_expected_answer():
    result = score("At Acme", "at Acme", constraints=("Never mention Acme.",))
    assert result == Score(False, ("Never mention Acme: the answer contains “Acme”",), True, None, 1.0)


@pytest.mark.parametrize(
    ("expected", "answer", "exact", "fields", "f1"),
    [
        ("Yes", " yes\n", True, None, 1.0),
        ("Straße  12", "STRASSE\n12", True, None, 1.0),
        ("Café", "cafe\u0301", True, None, 1.0),
        ('{"a": "é"}', '{"a": "e\u0301"}', True, 1.0, 1.0),
        ("1", "①", False, None, 0.0),
        ("Yes", "Yes.", False, None, 1.0),
        ("yes", "no", False, None, 0.0),
        ("a b c", "c b d", False, None, pytest.approx(2 / 3)),
        ("a a b", "a b b", False, None, pytest.approx(2 / 3)),
        ("a b", "a b c d", False, None, pytest.approx(2 / 3)),
        ("", "", True, None, 1.0),
        ("!", "?", False, None, 1.0),
        ("", "a", False, None, 0.0),
        ("a", "", False, None, 0.0),
        ("snake_case", "snake", False, None, pytest.approx(2 / 3)),
        ("你好", "你坏", False, None, 0.5),
        ('{"a": 1, "b": "X  y"}', '```json\n{"b": "x Y", "a": 1.0}\n```', True, 1.0, pytest.approx(10 / 12)),
        ('{"a": 1, "b": 2}', '{"a": 1, "b": 3}', False, 0.5, 0.75),
        ('{"a": 1, "b": 2}', '{"a": 1}', False, 0.5, pytest.approx(2 / 3)),
        ('{"a": 1}', '{"a": 1, "b": 2}', False, 0.5, pytest.approx(2 / 3)),
        ('{"a": 1}', '{"b": 1}', False, 0.0, 0.5),
        ('{"a": 1}', '{"a": true}', False, 0.0, 0.5),
        ('{"a": [1, {"b": true}]}', '{"a": [1, {"b": 1}]}', False, 0.0, 0.75),
        ('{"a": {"b": "X"}}', '{"a": {"b": "x "}}', True, 1.0, 1.0),
        ('{"a": {"b": 1}}', '{"a": {"b": 1, "c": 2}}', False, 0.0, pytest.approx(6 / 8)),
        ('{"a": null}', '{"a": 0}', False, 0.0, 0.5),
        ('{"a": "1"}', '{"a": 1}', False, 0.0, 1.0),
        ('{"a": []}', '{"a": {}}', False, 0.0, 1.0),
        ('{"a": NaN}', '{"a": NaN}', True, 1.0, 1.0),
        ("{}", "{}", True, 1.0, 1.0),
        ("{}", "[]", False, 0.0, 1.0),
        ("[1, 2]", "[1.0, 2]", True, 1.0, pytest.approx(4 / 5)),
        ("[1, 2]", "[2, 1]", False, 0.0, 1.0),
        ("[1, 2]", "[1, 2, 3]", False, 0.0, pytest.approx(4 / 5)),
        ('{"a": 1}', "a is 1", False, 0.0, pytest.approx(4 / 5)),
        ("[1]", "1", False, 0.0, 1.0),
        ("one", '{"a": 1}', False, None, 0.0),
        ('"one"', '{"a": 1}', False, None, 0.0),
    ],
)
def test_expected_answers(expected: str, answer: str, exact: bool, fields: float | None, f1: float):
    result = score(answer, expected)
    assert (result.exact, result.fields, result.f1) == (exact, fields, f1)
    assert result.passed is exact
    assert bool(result.failures) is not exact
    # What is asserted decides alone, and the measures stay.
    asserted = score(answer, expected, "min-length:0")
    assert asserted == Score(True, (), result.exact, result.fields, result.f1)


@pytest.mark.parametrize(
    ("expected", "answer", "told"),
    [
        ("Yes", "No,\nnever", "expected: the answer is “No, never”, expected “Yes”"),
        ('{"a": 1}', "Hello", "expected: the answer is no JSON: “Hello”"),
        ("[1]", "[2]", "expected: the answer is “[2]”, expected “[1]”"),
        (
            '{"priority": "low", "n": 1, "x": [1]}',
            '{"extra": null, "priority": "high", "n": 1}',
            "expected: fields that differ: priority (“high”, expected “low”), x (missing, expected [1]), "
            "extra (null, not expected)",
        ),
    ],
)
def test_a_missed_answer_in_words(expected: str, answer: str, told: str):
    assert score(answer, expected).failures == (told,)


def test_long_sentences_are_cut():
    fields = {f"field {number}": "x" * 500 for number in range(50)}
    [told] = score("{}", json.dumps(fields)).failures
    assert len(told) == MAX_FAILURE_CHARS
    assert told.endswith("…")
    [told] = score("", None, "contains:" + "x" * 1000).failures
    assert told.endswith("...: the answer does not contain it")
    [told] = no_answer(a_case(None), "x" * 1000).failures
    assert len(told) == MAX_FAILURE_CHARS


def test_a_score_can_be_kept_whatever_the_answer():
    result = score('{"\\ud83d": "\\ud83d"}', '{"a": 1}')
    kept = TypeAdapter(Score)
    assert kept.validate_json(kept.dump_json(result)) == result
    assert result.failures == ("expected: fields that differ: a (missing, expected 1), ? (“?”, not expected)",)


def test_deep_nesting_is_scored():
    for depth in (*range(900, 1005), 100_000):
        deep = '{"a": ' + "[" * depth + "1" + "]" * depth + "}"
        assert score(deep.replace("1", "2"), deep).exact is False
        assert score(deep, '{"a": 1}').fields == 0.0
        assert score(deep, deep).passed


@pytest.mark.parametrize(
    ("expected", "measures"),
    [(None, (None, None, None)), ("text", (False, None, 0.0)), ("[1]", (False, 0.0, 0.0)), ("{}", (False, 0.0, 0.0))],
)
def test_no_answer_is_worth_nothing(expected: str | None, measures: tuple[bool | None, float | None, float | None]):
    assert no_answer(a_case(expected, "min-length:0"), "too long") == Score(False, ("too long",), *measures)


def with_field(output: str, key: str, value: object) -> str:
    return json.dumps(json.loads(output) | {key: value})


TRIAGE = {
    "name": "Parcel desk triage",
    "system_prompt": "Sort each message for the parcel desk. Answer with JSON alone.",
    "guidelines": ["risk is a whole number from 0 to 3."],
    "constraints": ["Always respond in valid JSON.", "Never include text outside the JSON object."],
    "examples": [
        {
            "input": "My parcel arrived open and the watch is gone.",
            "output": '{"triage": "claim", "priority": "high", "risk": 2, "should_process": true, '
            '"confidence": 0.9, "reason": "Something was taken out of the parcel."}',
        },
        {
            "input": "Win a boat, click here",
            "output": '{"triage": "spam", "priority": "low", "risk": 3, "should_process": false, '
            '"confidence": 1.0, "reason": "It sells something."}',
        },
    ],
    "base_model": "Qwen/Qwen3.5-2B",
}
SENTIMENT = {
    "name": "How guests felt",
    "description": "Labels what guests write.",
    "system_prompt": "Say how the guest felt.",
    "guidelines": [],
    "constraints": [],
    "examples": [
        {
            "input": "The soup was cold and nobody cared.",
            "output": '{"sentiment": "negative", "label": -1, "rationale": "Cold food, no help."}',
        },
        {
            "input": "Lovely evening!",
            "output": '{"sentiment": "positive", "label": 1, "rationale": "The guest is delighted."}',
        },
    ],
    "base_model": "Qwen/Qwen3.5-2B",
    "eval_cases": [],
}


@pytest.mark.parametrize(
    ("file", "key", "value", "share"),
    [
        (TRIAGE, "priority", "medium", 5 / 6),
        (TRIAGE, "should_process", 1, 5 / 6),
        (TRIAGE, "confidence", 0.25, 5 / 6),
        (SENTIMENT, "sentiment", "neutral", 2 / 3),
        (SENTIMENT, "label", 0, 2 / 3),
    ],
)
def test_specs_of_json_records(file: dict, key: str, value: object, share: float):
    spec = parse_spec(file)
    assert len(spec.cases) == 2
    for case in spec.cases:
        assert case.expected is not None
        assert [message.role for message in case.messages] == ["system", "user"]
        assert score_of(case, spec.constraints, case.expected) == Score(True, (), True, 1.0, 1.0)
        reordered = json.dumps(dict(reversed(json.loads(case.expected).items())), indent=1)
        assert score_of(case, spec.constraints, reordered) == Score(True, (), True, 1.0, 1.0)
        wrong = score_of(case, spec.constraints, with_field(case.expected, key, value))
        assert (wrong.passed, wrong.exact) == (False, False)
        assert math.isclose(wrong.fields or 0, share)
        assert wrong.failures[0].startswith(f"expected: fields that differ: {key} (")
        prose = score_of(case, spec.constraints, "The guest seems happy, or was the parcel lost?")
        assert (prose.passed, prose.exact, prose.fields) == (False, False, 0.0)
