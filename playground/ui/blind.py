"""Blind votes in Compare: the models change places by chance and are not named until somebody has voted.

Knows the bar above the panes and which order was drawn; what a run or a vote is, others say.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Literal, get_args

import gradio as gr

from playground.history.records import Choice
from playground.ui.pane import MOUNT, drawn
from playground.ui.streaming import View, metrics

State = Literal["off", "running", "vote", "revealed"]
LETTERS = ("A", "B")
WORDS: dict[Choice, str] = {
    "left": "You found A better.",
    "right": "You found B better.",
    "tie": "You found both as good.",
    "both_bad": "You found neither good.",
}
NOT_VOTED = "Shown without a vote."
NOT_WHOLE = "Not both answers came to their end, so there is nothing to vote on."
NOT_KEPT = "The vote is not kept, as this run is not."


@dataclass(slots=True)
class Blind:
    """What a browser session's blind test is at. `wanted` is for the next run; `flipped` tells whether the models of
    this one changed places; `run_id` is where its vote goes."""

    wanted: bool = False
    state: State = "off"
    flipped: bool = False
    run_id: str | None = None
    words: str = ""

    @property
    def hides(self) -> bool:
        """Whether the models may not be named."""
        return self.state in ("running", "vote")

    def begin(self) -> None:
        """A new run: blind if that is wanted, and then in an order that nobody chose."""
        self.state = "running" if self.wanted else "off"
        self.flipped = self.wanted and secrets.randbelow(2) == 1
        self.run_id, self.words = None, ""

    def end(self, *, whole: bool, run_id: str | None) -> None:
        """The answers are there, both or not."""
        if self.state == "running":
            self.state, self.run_id = "vote", run_id
            if not whole:
                self.reveal(NOT_WHOLE)

    def reveal(self, words: str) -> None:
        """From now on the models are named."""
        self.state, self.words = "revealed", words

    def view(self) -> View:
        """What the bar draws."""
        return {"wanted": self.wanted, "state": self.state, "words": self.words}

    def masked(self, side: int, view: View) -> View:
        """A side's view without anything that tells its model, while that is hidden."""
        if not self.hides:
            return view
        letter = LETTERS[side]
        hidden = {"model": f"Answer {letter}", "metrics": metrics(None), "source": "", "notes": []}
        turns = [{**turn, "answer": {**turn["answer"], **hidden}} for turn in view["turns"]]
        return {**view, "name": f"{letter}: answer", "turns": turns, "error": None}


def choice_of(told: object) -> Choice | None:
    """A vote as the bar tells it; None for the wish to see the models without one."""
    return next((choice for choice in get_args(Choice) if choice == told), None)


def blind(enabled: bool) -> gr.HTML:
    """Renders the bar where it is called."""
    script = "playground.blind(element, props, trigger, watch); // triggers 'select' and 'submit'"
    return drawn({**Blind().view(), "enabled": enabled}, MOUNT, script, "blind")
