"""How long a browser takes to show two answers of 4,096 tokens each with their heat-maps.

`python -m bench.heat_map` serves the demo, gives its comparison scores of that length in place of found ones, opens the
look in Chromium and prints milliseconds: from the click to the painted tokens, of which from the arrival of the values
to the paint, and from a mouse over a token to its painted alternatives.
"""

from __future__ import annotations

import argparse
import math
import random
import statistics
import tempfile
from pathlib import Path
from typing import Any

from playground import comparison
from playground.comparison import AnswerScores, TokenScores
from playground.types import TokenLogprob
from tests.browser import Person, chromium
from tests.server import ROOT, serving

NUM_TOKENS = 4096
WORDS = ("The", " parcel", " is", " on", " its", " way", ".", "\n", " 日本", " 🙂", " tomorrow", ",", ' "', " order")
WATCH = """() => {
  const parse = JSON.parse;
  window.seen = { clicked: performance.now() };
  JSON.parse = (text, ...more) => {
    if (text.length > 100000) window.seen.arrived ??= performance.now();
    return parse(text, ...more);
  };
  const look = () => {
    if (document.querySelectorAll(".pg-heat span").length < %d) return requestAnimationFrame(look);
    requestAnimationFrame(() => requestAnimationFrame(() => (window.seen.painted = performance.now())));
  };
  look();
  document.querySelector("#closer .pg-fold").click();
}"""
HOVER = """() => new Promise((done) => {
  const spans = document.querySelectorAll(".pg-heat span");
  const began = performance.now();
  spans[spans.length >> 1].dispatchEvent(new MouseEvent("mouseover", { bubbles: true }));
  requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now() - began)));
})"""


def main() -> None:
    """Opens the look a few times, each in a new page."""
    parser = argparse.ArgumentParser(prog="python -m bench.heat_map", description=__doc__)
    parser.add_argument("--times", type=int, default=5, help="how often it is opened (default 5)")
    times = parser.parse_args().times
    scores = [_long_answer(random.Random(side)) for side in (1, 2)]

    async def found_at_once(*_: Any) -> list[AnswerScores]:
        return scores

    comparison.cross_scores = found_at_once  # type: ignore[assignment]
    with (
        tempfile.TemporaryDirectory() as home,
        serving(ROOT / "models.yaml", Path(home)) as server,
        chromium() as browser,
    ):
        found = [_opened(Person(browser.new_page(), server.url)) for _ in range(times)]
    for number, name in enumerate(("click to paint", "arrival to paint", "mouse to alternatives")):
        values = [one[number] for one in found]
        print(f"{name}: median {statistics.median(values):.0f} ms, most {max(values):.0f} ms")


def _opened(person: Person) -> tuple[float, float, float]:
    person.open()
    person.ask("Where is my parcel?", "compare")
    for side in ("left", "right"):
        person.expect_state(side, "done")
    person.page.evaluate(WATCH % (2 * NUM_TOKENS))
    person.page.wait_for_function("window.seen.painted")
    seen = person.page.evaluate("window.seen")
    hover = person.page.evaluate(HOVER)
    person.page.close()
    return seen["painted"] - seen["clicked"], seen["painted"] - seen["arrived"], hover


def _long_answer(rng: random.Random) -> AnswerScores:
    return AnswerScores(tuple(_token(rng) for _ in range(NUM_TOKENS)))


def _token(rng: random.Random) -> TokenScores:
    piece = rng.choice(WORDS)
    return TokenScores(piece, *(_scored(rng, piece) for _ in range(2)))


def _scored(rng: random.Random, piece: str) -> TokenLogprob:
    top = tuple(TokenLogprob(i, math.log(rng.uniform(1e-6, 1)), rng.choice(WORDS)) for i in range(comparison.NUM_TOP))
    return TokenLogprob(0, math.log(rng.uniform(1e-6, 1)), piece, piece, top)


if __name__ == "__main__":
    main()
