"""Text as it streams: stop strings that may lie across tokens, thinking set apart from the answer.

Knows strings only; which token gave them, and which model, is not its affair.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class StopMatcher:
    """Lets text through up to the first stop string, and holds back any tail that may begin one."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stops)
        self._held = ""
        self.stopped = False

    def push(self, text: str) -> str:
        """The text that is now certain to belong to the answer."""
        if self.stopped:
            return ""
        self._held += text
        found = [at for stop in self._stops if (at := self._held.find(stop)) >= 0]
        if found:
            self.stopped = True
            return self._take(min(found))
        return self._take(len(self._held) - self._num_doubtful())

    def flush(self) -> str:
        """What was held back, when no more text comes."""
        return "" if self.stopped else self._take(len(self._held))

    def _take(self, length: int) -> str:
        taken, self._held = self._held[:length], self._held[length:]
        return taken

    def _num_doubtful(self) -> int:
        longest = min(len(self._held), max((len(stop) - 1 for stop in self._stops), default=0))
        for length in range(longest, 0, -1):
            if any(stop.startswith(self._held[-length:]) for stop in self._stops):
                return length
        return 0


@dataclass(frozen=True, slots=True)
class ThinkingMarks:
    """How a chat template fences a model's thinking: two tokens, and a label after the first, if any."""

    open: str
    close: str
    label: str = ""


KNOWN_MARKS = (ThinkingMarks("<think>", "</think>"), ThinkingMarks("<|channel>", "<channel|>", "thought"))


def marks_of(chat_template: str) -> ThinkingMarks | None:
    """The marks that a template uses, None where it knows no thinking."""
    return next((marks for marks in KNOWN_MARKS if marks.close in chat_template), None)


class ThinkingSplitter:
    """Says of each piece of text whether it is thinking, and takes away the marks' label and the line ends
    that follow a mark. `thinking` is what the next piece belongs to."""

    def __init__(self, *, thinking: bool, label: str) -> None:
        self._label = label
        self.turn(thinking)
        # An answer that begins outside a mark begins with its first character, whatever that is.
        self._at_start = thinking

    def turn(self, thinking: bool) -> None:
        """A mark was met: what follows is thinking, or the answer."""
        self.thinking = thinking
        self._at_start = True
        self._held = ""

    def push(self, text: str) -> str:
        """The text to show; empty while it may still be the label."""
        if not self._at_start:
            return text
        self._held = (self._held + text).lstrip("\n")
        label = self._label if self.thinking else ""
        if not self._held or (len(self._held) < len(label) and label.startswith(self._held)):
            return ""
        shown = self._held.removeprefix(label).lstrip("\n")
        self._at_start = shown == ""
        self._held = ""
        return shown

    def flush(self) -> str:
        """What was held back, when no more of this part comes."""
        held, self._held = self._held, ""
        return held
