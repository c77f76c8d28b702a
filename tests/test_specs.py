"""Specs: what each kind of assertion accepts, and how broken files are reported."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from playground.specs import Assertion, SpecError, is_json, parse_assertion, parse_spec, read_spec


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


@pytest.mark.parametrize(
    ("rule", "answer", "holds"),
    [
        ("contains:Mill Street", "At 12 Mill Street.", True),
        ("contains:mill street", "At 12 Mill Street.", False),
        ("contains:a:b", "see a:b", True),
        ("contains: ", "nospace", False),
        ("not-contains:sorry", "All good.", True),
        ("not-contains:sorry", "I'm sorry.", False),
        ('matches:"intent":\\s*"refund"', '{"intent": "refund"}', True),
        ('matches:"intent":\\s*"refund"', '{"intent": "return"}', False),
        ("matches:^a.c$", "xabc", False),
        ("matches:(?i)HELLO", "oh, hello", True),
        ("max-length:5", "12345", True),
        ("max-length:5", "123456", False),
        ("max-length:1", "é", True),
        ("max-length:0", "", True),
        ("min-length:2", "ab", True),
        ("min-length:2", "a", False),
        ("is-json", '{"a": 1}', True),
        ("is-json", " [1, 2]\n", True),
        ("is-json", '"text"', True),
        ("is-json", "", False),
        ("is-json", "{'a': 1}", False),
        ("is-json", 'Sure: {"a": 1}', False),
        ("is-json", '{"a": 1} Done.', False),
        ("is-json", '{"a": NaN}', False),
        ("is-json", "[" * 200_000, False),
    ],
)
def test_assertions(rule: str, answer: str, holds: bool):
    assertion = parse_assertion(rule)
    assert assertion.holds(answer) is holds
    assert str(assertion) == rule


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
    assert repr(rule) in str(caught.value)


def test_an_assertion_checks_itself():
    with pytest.raises(SpecError):
        Assertion("max-length", "many")


def test_without_eval_cases_the_examples_are_the_cases():
    spec = parse_spec(a_spec())
    assert [(case.input, case.expected, case.assertions) for case in spec.cases] == [("hi", "hello", ())]


def test_eval_cases_replace_the_examples_as_cases():
    rules = ["is-json", "max-length:20"]
    cases = [{"input": "who?", "assert": rules}, {"input": "why?", "expected": "so"}]
    spec = parse_spec(a_spec(eval_cases=cases))
    assert [case.input for case in spec.cases] == ["who?", "why?"]
    assert [str(rule) for rule in spec.cases[0].failures("a long answer, not JSON")] == rules
    assert spec.cases[0].failures("{}") == ()
    assert spec.examples[0].output == "hello"


def test_optional_parts():
    spec = parse_spec({"name": "n", "system_prompt": "s", "base_model": "b/m", "id": "7"})
    assert (spec.description, spec.guidelines, spec.cases, spec.id) == ("", (), (), "7")


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"name": ...}, "name: is missing"),
        ({"name": ""}, "name: '': "),
        ({"system_prompt": ...}, "system_prompt: is missing"),
        ({"system_prompt": 3}, "system_prompt: 3: "),
        ({"base_model": ...}, "base_model: is missing"),
        ({"guidelines": "Be kind."}, "guidelines: 'Be kind.': "),
        ({"guidelines": [1]}, "guidelines[0]: 1: "),
        ({"constrains": []}, "constrains: []: is not a known key"),
        ({"examples": [{"input": "hi"}]}, "examples[0].output: is missing"),
        ({"examples": [{"input": "hi", "output": "x", "why": 1}]}, "examples[0].why: 1: is not a known key"),
        ({"eval_cases": {}}, "eval_cases: {}: "),
        ({"eval_cases": [{"input": "", "expected": "x"}]}, "eval_cases[0].input: '': "),
        ({"eval_cases": [{"input": "hi"}]}, "eval_cases[0]: {'input': 'hi'}: needs expected, assert or both"),
        ({"eval_cases": [{"input": "hi", "assert": ["js"]}]}, "eval_cases[0].assert[0]: 'js': must begin"),
        ({"eval_cases": [{"input": "hi", "assert": ["is-json", 5]}]}, "eval_cases[0].assert[1]: 5: "),
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


@pytest.mark.parametrize("data", [[], "text", None, 3])
def test_a_spec_is_an_object(data: object):
    with pytest.raises(SpecError, match="must be a JSON object"):
        parse_spec(data)


def test_reading_a_file_names_it(tmp_path: Path):
    good, broken, binary = tmp_path / "good.json", tmp_path / "broken.json", tmp_path / "binary.json"
    good.write_text(json.dumps(a_spec()), encoding="utf-8")
    broken.write_text('{"name": \n oops}', encoding="utf-8")
    binary.write_bytes(b"\xff\xfe")
    assert read_spec(good).name == "greeter"
    with pytest.raises(SpecError, match=r"broken\.json: line 2 is not JSON"):
        read_spec(broken)
    with pytest.raises(SpecError, match=r"binary\.json: cannot be read"):
        read_spec(binary)
    with pytest.raises(SpecError, match=r"absent\.json: cannot be read"):
        read_spec(tmp_path / "absent.json")


def test_is_json_wants_the_whole_text():
    assert is_json("null")
    assert not is_json("null null")


def test_reading_a_spec_loads_no_model_library():
    heavy = "torch transformers peft gradio fastapi"
    code = f"import sys, playground.specs; print([m for m in '{heavy}'.split() if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
