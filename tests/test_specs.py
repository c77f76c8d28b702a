"""Specs out of files: both formats, what becomes a case, and how broken files are reported."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from playground.specs import Assertion, Case, SpecError, parse_assertion, parse_spec, parse_text, read_spec
from playground.specs.reading import MAX_BYTES
from playground.types import Message


def a_spec(**changes: Any) -> dict[str, Any]:
    spec: dict[str, Any] = {
        "name": "greeter",
        "system_prompt": "",
        "guidelines": ["Be kind."],
        "constraints": ["Never shout."],
        "examples": [{"input": "hi", "output": "hello"}],
        "base_model": "some/model",
    }
    return {key: value for key, value in (spec | changes).items() if value is not ...}


def problems_of(text: str, name: str = "cases.jsonl") -> tuple[str, ...]:
    with pytest.raises(SpecError) as caught:
        parse_text(text, name)
    return caught.value.problems


def a_chat(*turns: str, **more: Any) -> str:
    """A line of JSONL out of turns such as "user: Hello"."""
    messages = [dict(zip(("role", "content"), turn.split(": ", 1), strict=True)) for turn in turns]
    return json.dumps({"messages": messages, **more})


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        ("", "must begin with one of"),
        ("includes:x", "must begin with one of"),
        ("Contains:x", "must begin with one of"),
        ("contains", "needs a text"),
        ("contains:", "needs a text"),
        ("not-contains:", "needs a text"),
        ("matches:", "needs a text"),
        ("matches:(", "no regular expression"),
        ("matches:[z-a]", "no regular expression"),
        ("matches:(?a)(?u)x", "no regular expression"),
        ("matches:" + "(" * 5000 + ")" * 5000, "no regular expression"),
        ("matches:" + "x" * 10_001, "may have 10,000 characters"),
        ("matches:(?:x{1000}y){101}", "may come to 100,000"),
        ("matches:x{" + "9" * 5000 + "}", "may come to 100,000"),
        ("max-length:", "whole number"),
        ("max-length:-1", "whole number"),
        ("min-length:two", "whole number"),
        ("min-length:²", "whole number"),
        ("min-length:9999999999", "whole number"),
        ("is-json:", "takes no argument"),
        ("is-json:yes", "takes no argument"),
    ],
)
def test_broken_assertions(rule: str, reason: str):
    with pytest.raises(SpecError, match=reason) as caught:
        parse_assertion(rule)
    assert repr(rule)[:70] in str(caught.value)


@pytest.mark.parametrize(
    "rule", [r"matches:^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$", "matches:(.{0,9999}x){0,9999}"]
)
def test_patterns_of_counted_repeats(rule: str):
    assert str(parse_assertion(rule)) == rule


def test_values_check_themselves():
    with pytest.raises(SpecError, match="whole number"):
        Assertion("max-length", "many")
    with pytest.raises(SpecError, match="user message"):
        Case((Message("system", "s"),), "x", ())


@pytest.mark.parametrize("cases", [..., None, []])
def test_without_eval_cases_the_examples_are_the_cases(cases: object):
    spec = parse_spec(a_spec(eval_cases=cases))
    assert [(case.input, case.expected, case.assertions) for case in spec.cases] == [("hi", "hello", ())]


def test_eval_cases_replace_the_examples_as_cases():
    rules = ["is-json", "max-length:20"]
    cases = [{"input": "who?", "assert": rules}, {"input": "why?", "expected": "so", "assert": None}]
    spec = parse_spec(a_spec(eval_cases=cases))
    assert [(case.input, case.expected) for case in spec.cases] == [("who?", None), ("why?", "so")]
    assert [str(rule) for rule in spec.cases[0].assertions] == rules
    assert spec.examples[0].output == "hello"


@pytest.mark.parametrize(("prompt", "roles"), [("Be Juno.", ["system", "user"]), ("", ["user"]), (" \n", ["user"])])
def test_the_system_prompt_goes_before_each_input(prompt: str, roles: list[str]):
    [case] = parse_spec(a_spec(system_prompt=prompt)).cases
    assert [message.role for message in case.messages] == roles
    assert case.messages[0].content in (prompt, "hi")
    assert case.messages[-1] == Message("user", "hi")


def test_optional_parts_may_be_left_out_or_null():
    left_out = {"name": "n", "system_prompt": "s", "base_model": "b/m", "eval_cases": [{"input": "a", "expected": ""}]}
    nulls = dict.fromkeys(("description", "guidelines", "constraints", "examples", "id"))
    spec = parse_spec(left_out)
    assert spec == parse_spec(left_out | nulls)
    assert (spec.description, spec.guidelines, spec.constraints, spec.id) == ("", (), (), None)
    assert spec.cases[0].expected == ""


def test_constraints_are_kept_with_what_is_checked():
    kept = parse_spec(a_spec(constraints=["Never shout.", "Always answer in valid JSON."])).constraints
    assert [(one.text, one.enforced) for one in kept] == [
        ("Never shout.", False),
        ("Always answer in valid JSON.", True),
    ]


def test_a_case_may_be_checked_by_constraints_alone():
    spec = parse_spec(a_spec(eval_cases=[{"input": "hi"}], constraints=["Always answer in JSON"]))
    assert (spec.cases[0].expected, spec.cases[0].assertions) == (None, ())


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"name": ...}, "name: is missing"),
        ({"name": ""}, "name: '': must not be blank"),
        ({"system_prompt": ...}, "system_prompt: is missing"),
        ({"system_prompt": 3}, "system_prompt: 3: must be a string"),
        ({"base_model": ...}, "base_model: is missing"),
        ({"guidelines": "Be kind."}, "guidelines: 'Be kind.': must be a list"),
        ({"guidelines": [1]}, "guidelines[0]: 1: must be a string"),
        ({"examples": [1]}, "examples[0]: 1: must be an object"),
        ({"constrains": []}, "constrains: []: is not a known key"),
        ({"examples": [{"input": "hi"}]}, "examples[0].output: is missing"),
        ({"examples": [{"input": "hi", "output": "x", "why": 1}]}, "examples[0].why: 1: is not a known key"),
        ({"examples": [{"input": " ", "output": "x"}]}, "examples[0].input: ' ': must not be blank"),
        ({"examples": [{"input": "\ud83d", "output": "x"}]}, r"examples[0].input: '\ud83d': must be text"),
        ({"examples": [{"input": "hi", "output": "x\udc00"}]}, r"examples[0].output: 'x\udc00': must be text"),
        ({"examples": []}, "eval_cases: there are none, and no examples either"),
        ({"examples": ..., "eval_cases": []}, "eval_cases: there are none, and no examples either"),
        ({"eval_cases": {}}, "eval_cases: {}: "),
        ({"eval_cases": [{"input": "", "expected": "x"}]}, "eval_cases[0].input: '': "),
        ({"eval_cases": [{"input": "hi"}]}, "eval_cases[0]: {'input': 'hi'}: needs expected, assert or both"),
        ({"eval_cases": [{"input": "hi", "assert": []}]}, "eval_cases[0]: {'input': 'hi', 'assert': []}: needs"),
        ({"eval_cases": [{"input": "hi", "assert": ["js"]}]}, "eval_cases[0].assert[0]: 'js': must begin"),
        ({"eval_cases": [{"input": "hi", "assert": ["is-json", 5]}]}, "eval_cases[0].assert[1]: 5: "),
        ({"examples": [{"input": "a", "output": ""}] * 10_001}, "examples: 10001: at most 10,000 cases"),
    ],
)
def test_broken_specs_name_key_value_and_rule(changes: dict[str, Any], problem: str):
    with pytest.raises(SpecError) as caught:
        parse_spec(a_spec(**changes))
    assert len(caught.value.problems) == 1
    assert caught.value.problems[0].startswith(problem)


def test_all_problems_come_together():
    broken = a_spec(name=..., colour="red", eval_cases=[{"input": "a", "assert": ["is-json", "matches:("]}])
    with pytest.raises(SpecError) as caught:
        parse_spec(broken)
    assert len(caught.value.problems) == 3


def test_of_very_many_problems_the_first_are_shown():
    broken = a_spec(examples=[{"input": "", "output": "x"}] * 73)
    assert problems_of(json.dumps(broken))[-2:] == (
        "cases.jsonl: examples[49].input: '': must not be blank",
        "and 23 more",
    )


@pytest.mark.parametrize("data", [[], "text", None, 3])
def test_a_spec_is_an_object(data: object):
    with pytest.raises(SpecError, match="must be a JSON object"):
        parse_spec(data)


def test_reading_a_file_names_it(tmp_path: Path):
    good, broken, binary = tmp_path / "good.json", tmp_path / "broken.json", tmp_path / "binary.json"
    good.write_text(json.dumps(a_spec(), indent=1), encoding="utf-8")
    broken.write_text('{"name": \n oops}', encoding="utf-8")
    binary.write_bytes(b"\xff\xfe")
    assert read_spec(good).name == "greeter"
    with pytest.raises(SpecError, match=r"^broken\.json: line 2 is not JSON"):
        read_spec(broken)
    with pytest.raises(SpecError, match=r"^binary\.json: cannot be read: it is not text in UTF-8$"):
        read_spec(binary)
    with pytest.raises(SpecError, match=r"^absent\.json: cannot be read"):
        read_spec(tmp_path / "absent.json")


def test_more_than_20_mb_is_not_read(tmp_path: Path):
    text = json.dumps(a_spec())
    big = tmp_path / "big.json"
    big.write_text(text + " " * (MAX_BYTES - len(text)), encoding="utf-8")
    assert read_spec(big).name == "greeter"
    with big.open("a") as file:
        file.write("\n")
    with pytest.raises(SpecError, match=r"^big\.json: is over 20 MB, and no more is read$"):
        read_spec(big)
    # Bytes count, not characters.
    assert problems_of("é" * (MAX_BYTES // 2 + 1)) == ("cases.jsonl: is over 20 MB, and no more is read",)


def test_a_byte_order_mark_is_no_matter(tmp_path: Path):
    file = tmp_path / "marked.json"
    file.write_text(json.dumps(a_spec()), encoding="utf-8-sig")
    assert read_spec(file).name == "greeter"
    assert parse_text("\ufeff" + a_chat("user: a", "assistant: b"), "marked.jsonl").cases[0].expected == "b"


def test_a_key_stands_once_in_an_object():
    text = json.dumps(a_spec()).replace('"name": "greeter"', '"name": "greeter", "name": "shouter"')
    assert problems_of(text) == ("cases.jsonl: name: 'shouter': stands more than once in one object",)
    inner = json.dumps(a_spec(name=...)).replace('"input": "hi"', '"input": "hi", "input": "ho"')
    assert problems_of(inner) == (
        "cases.jsonl: input: 'ho': stands more than once in one object",
        "cases.jsonl: name: is missing",
    )


def test_chat_lines():
    lines = [
        a_chat("system: Be kind.", "user: Hi", "assistant: Hello", "user: Bye", "assistant: See you", id=7),
        "",
        a_chat("user: A line\u2028in two", "assistant: ", metadata={"from": "me", "id": None}),
        "  \t",
    ]
    spec = parse_text("\r\n".join(lines), "talk.jsonl")
    assert (spec.name, spec.base_model, spec.system_prompt, spec.examples) == ("talk.jsonl", None, "", ())
    one, other = spec.cases
    assert [message.role for message in one.messages] == ["system", "user", "assistant", "user"]
    assert (one.input, one.expected, one.assertions) == ("Bye", "See you", ())
    assert (other.input, other.expected) == ("A line\u2028in two", "")


def test_a_line_separator_within_a_string_ends_no_line():
    line = json.dumps({"messages": [{"role": "user", "content": "a\u2028b"}, {"role": "assistant", "content": "c"}]})
    assert parse_text(line.replace("\\u2028", "\u2028"), "x.jsonl").cases[0].input == "a\u2028b"


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("oops", "line 2 is not JSON: Expecting value"),
        ('{"messages": NaN}', "line 2 is not JSON: NaN is not JSON"),
        ("[" * 100_000, "line 2 is not JSON: it nests too deeply"),
        ("[1]", "line 2: chat: [1]: must be a JSON object"),
        ("null", "line 2: chat: None: must be a JSON object"),
        ('{"id": 1}', "line 2: messages: is missing"),
        ('{"messages": "hi"}', "line 2: messages: 'hi': "),
        ('{"messages": []}', "line 2: messages: []: "),
        (a_chat("user: a"), "line 2: messages: [{'role': 'user', 'content': 'a'}]: "),
        (a_chat("user: a", "assistant: b", extra=1), "line 2: extra: 1: is not a known key"),
        (a_chat("bot: a", "assistant: b"), "line 2: messages[0].role: 'bot': "),
        (a_chat("user: a", "user: b"), "line 2: messages[1].role: 'user': the last message must be the assistant's"),
        (a_chat("system: a", "assistant: b"), "line 2: messages: ['system', 'assistant']: a user message must come"),
        (a_chat("user: a", "system: b", "assistant: c"), "line 2: messages[1].role: 'system': there may be one"),
        (a_chat("system: a", "system: b", "user: c", "assistant: d"), "line 2: messages[1].role: 'system': there"),
        (a_chat("user:  ", "assistant: b"), "line 2: messages: ' ': the last user message must not be blank"),
        (a_chat("user: \ud800", "assistant: b"), r"line 2: messages[0].content: '\ud800': must be text"),
        (
            '{"messages": [{"role": "user", "content": null}, {"role": "assistant", "content": "b"}]}',
            "line 2: messages[0].content: None: ",
        ),
        (
            '{"messages": [{"role": "user", "content": "a", "name": "x"}, {"role": "assistant", "content": "b"}]}',
            "line 2: messages[0].name: 'x': is not a known key",
        ),
        (
            '{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}], "id": 1, "id": 2}',
            "line 2: id: 2: stands more than once",
        ),
    ],
)
def test_broken_lines_name_line_key_value_and_rule(line: str, problem: str):
    [told] = problems_of(f"{a_chat('user: a', 'assistant: b')}\n{line}\n")
    assert told.startswith(f"cases.jsonl: {problem}")


def test_all_broken_lines_come_together():
    lines = ["oops", a_chat("user: a", "assistant: b"), a_chat("user: a", x=1), '{"id": 1, "id": 2}']
    told = problems_of("\n".join(lines))
    assert [problem.split(": ")[1][:6] for problem in told] == ["line 1", "line 3", "line 3", "line 4", "line 4"]


def test_lines_of_which_none_is_a_chat():
    told = problems_of('{"id": 1}\noops')
    assert told == (
        "cases.jsonl: line 1: messages: is missing",
        "cases.jsonl: line 2 is not JSON: Expecting value",
    )


def test_so_many_lines_are_read():
    line = a_chat("user: a", "assistant: b")
    assert len(parse_text("\n".join([line] * 10_000), "x.jsonl").cases) == 10_000
    assert problems_of("\n".join([line] * 10_001)) == ("cases.jsonl: lines: 10001: at most 10,000 cases are read",)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "is empty: "),
        ("\ufeff \n", "is empty: "),
        ("[]", "spec: []: must be one JSON object"),
        ('[\n{"input": "a"}\n]', "spec: [{'input': 'a'}]: must be one JSON object"),
        (json.dumps(json.loads(a_chat("user: a", "assistant: b")), indent=1), "spec: {'messages': "),
        ("Dear reader,\nhello", "line 1 is not JSON"),
        ("{}", "name: is missing"),
    ],
)
def test_neither_format(text: str, problem: str):
    assert problems_of(text)[0].startswith(f"cases.jsonl: {problem}")


def test_a_broken_spec_of_many_lines_is_not_taken_for_chats():
    cases = ",\n".join(json.dumps({"input": "a", "expected": "b"}) for _ in range(3))
    assert problems_of(f'{{"name": "x",\n"eval_cases": [\n{cases}\n],,}}')[0].startswith(
        "cases.jsonl: line 6 is not JSON"
    )


def test_one_line_may_be_either():
    assert parse_text(a_chat("user: a", "assistant: b"), "x").base_model is None
    assert parse_text(json.dumps(a_spec()), "x").base_model == "some/model"


def test_reading_a_spec_loads_no_model_library():
    heavy = "torch transformers peft gradio fastapi"
    code = f"import sys, playground.specs; print([m for m in '{heavy}'.split() if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
