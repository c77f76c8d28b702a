"""Specs out of text and files: a `tunedtensor.json`, or chat JSONL, told apart by what is in them.

Knows JSON and where in a file something stands; the keys are the affair of `spec_file` and `chat_lines`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from playground.specs.chat_lines import case_from
from playground.specs.rules import refuse_constant
from playground.specs.spec import Spec, SpecError, problem
from playground.specs.spec_file import MAX_CASES, TOO_MANY_CASES, spec_from

MAX_BYTES = 20_000_000
_TOO_BIG = f"is over {MAX_BYTES // 1_000_000} MB, and no more is read"


def read_spec(path: Path) -> Spec:
    """The spec in a UTF-8 file. Raises SpecError, each problem with the file's name in front."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise SpecError([f"{path.name}: {_TOO_BIG}"])
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise SpecError([f"{path.name}: cannot be read: it is not text in UTF-8"]) from None
    except OSError as error:
        raise SpecError([f"{path.name}: cannot be read: {error}"]) from None
    return parse_text(text, path.name)


def parse_text(text: str, name: str) -> Spec:
    """The spec in the text of a file called `name`, which becomes the name of a spec that has none of its own.

    Raises SpecError with all problems, each with the file's name in front and, of JSONL, the line.
    """
    problems: list[str] = []
    if len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        problems.append(_TOO_BIG)
        spec = None
    else:
        spec = _spec(text.removeprefix("\ufeff"), name, problems)
    if spec is None or problems:
        raise SpecError([f"{name}: {one}" for one in problems])
    return spec


@dataclass(frozen=True, slots=True)
class _Json:
    """A text read as JSON: its value, or why it is none and at which line. `repeated` are problems of its keys."""

    value: object = None
    problem: str | None = None
    line: int = 1
    repeated: tuple[str, ...] = ()

    @property
    def is_chat(self) -> bool:
        return isinstance(self.value, dict) and "messages" in self.value


def _spec(text: str, name: str, problems: list[str]) -> Spec | None:
    whole = _json(text)
    if isinstance(whole.value, dict) and not whole.is_chat:
        problems += whole.repeated
        return spec_from(whole.value, problems)
    lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    if not lines:
        problems.append("is empty: a tunedtensor.json is one JSON object, JSONL has a chat a line")
        return None
    if _is_jsonl(lines):
        return _chat_spec(lines, name, problems)
    if whole.problem is not None:
        problems.append(f"line {whole.line} is not JSON: {whole.problem}")
    else:
        rule = "must be one JSON object (a tunedtensor.json), or a chat a line (JSONL)"
        problems.append(problem("spec", whole.value, rule))
    return None


def _is_jsonl(lines: Sequence[tuple[int, str]]) -> bool:
    """Told from a broken tunedtensor.json, some lines of which may be JSON too."""
    return isinstance(_json(lines[0][1]).value, dict) or any(_json(line).is_chat for _, line in lines)


def _chat_spec(lines: Sequence[tuple[int, str]], name: str, problems: list[str]) -> Spec | None:
    if len(lines) > MAX_CASES:
        problems.append(problem("lines", len(lines), TOO_MANY_CASES))
        return None
    cases = []
    for number, line in lines:
        read = _json(line)
        found = [*read.repeated]
        if read.problem is not None:
            problems.append(f"line {number} is not JSON: {read.problem}")
            continue
        cases.append(case_from(read.value, found))
        problems += [f"line {number}: {one}" for one in found]
    kept = tuple(case for case in cases if case is not None)
    return None if problems else Spec(name, kept, base_model=None)


def _json(text: str) -> _Json:
    repeated: list[str] = []

    def once(pairs: list[tuple[str, object]]) -> dict[str, object]:
        items: dict[str, object] = {}
        for key, value in pairs:
            if key in items:
                repeated.append(problem(key, value, "stands more than once in one object"))
            items[key] = value
        return items

    try:
        value = json.loads(text, object_pairs_hook=once, parse_constant=refuse_constant)
    except json.JSONDecodeError as error:
        return _Json(problem=error.msg, line=error.lineno)
    except ValueError as error:
        return _Json(problem=str(error))
    except RecursionError:
        return _Json(problem="it nests too deeply")
    return _Json(value, repeated=tuple(repeated))
