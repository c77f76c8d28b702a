"""A line of chat JSONL: a conversation whose last message is the expected answer.

Knows parsed JSON; refuses to know files.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any

from pydantic import Field

from playground.specs.spec import Case, problem
from playground.specs.spec_file import Strict, Text, validated
from playground.types import MAX_MESSAGES, Message, Role


class _Turn(Strict):
    role: Role
    content: Text


class _Line(Strict):
    """`id` and `metadata` are for whoever wrote the file."""

    messages: Annotated[list[_Turn], Field(min_length=2, max_length=MAX_MESSAGES)]
    id: Any = None
    metadata: Any = None


def case_from(data: object, problems: list[str]) -> Case | None:
    """The case of a line; None where there are problems, which are added to those that are known."""
    if not isinstance(data, dict):
        problems.append(problem("chat", data, 'must be a JSON object, {"messages": [...]}'))
        return None
    line = validated(_Line, data, problems)
    if line is None:
        return None
    found = list(_order_problems(line.messages))
    problems += found
    if found:
        return None
    *asked, last = line.messages
    return Case(tuple(Message(turn.role, turn.content) for turn in asked), last.content, ())


def _order_problems(turns: Sequence[_Turn]) -> Iterator[str]:
    for place, turn in enumerate(turns):
        if turn.role == "system" and place:
            rule = "there may be one system message, and it comes first"
            yield problem(f"messages[{place}].role", turn.role, rule)
    *asked, last = turns
    if last.role != "assistant":
        rule = "the last message must be the assistant's: it is the expected answer"
        yield problem(f"messages[{len(asked)}].role", last.role, rule)
    users = [turn for turn in asked if turn.role == "user"]
    if not users:
        yield problem("messages", [turn.role for turn in turns], "a user message must come before the expected answer")
    elif not users[-1].content.strip():
        yield problem("messages", users[-1].content, "the last user message must not be blank")
