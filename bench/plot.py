"""Figures as a plot: for each case a bar that says how far its goal is reached.

Knows SVG; nothing of how anything was found.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from bench.figures import Case, Figure
from bench.table import goal, ratio

WIDTH, LEFT, RIGHT, MOST = 760, 100, 130, 2.0
"""A bar that reaches its goal `MOST` times over, or more, is as long as there is room."""
HEAD, BAR, GAP = 20, 14, 8
STYLE = """<style>
text { font: 12px system-ui, sans-serif; fill: #333 }
.name { font-weight: 600 }
.reached { fill: #2a7a4b }
.missed { fill: #b4541a }
.goal { stroke: #333; stroke-dasharray: 3 3 }
@media (prefers-color-scheme: dark) { text { fill: #ddd } .goal { stroke: #ddd } }
</style>"""


def plot(figures: Sequence[Figure]) -> str:
    """An SVG picture of all cases that have a goal, in the figures' order."""
    parts, y = [], HEAD
    for figure in figures:
        reached = [(case, reach) for case in figure.cases if (reach := figure.reach(case)) is not None]
        if not reached:
            continue
        parts.append(_text(0, y, figure.name, "name"))
        y += BAR
        for case, reach in reached:
            parts += _bar(figure, case, reach, y)
            y += BAR
        y += GAP + BAR
    at = LEFT + _length(1)
    parts.append(f'<line class="goal" x1="{at}" x2="{at}" y1="{HEAD}" y2="{y}"/>')
    parts.append(_text(at + 4, y, "goal"))
    size = f'width="{WIDTH}" height="{y + HEAD}" viewBox="0 0 {WIDTH} {y + HEAD}"'
    return "\n".join([f'<svg xmlns="http://www.w3.org/2000/svg" {size}>', STYLE, *parts, "</svg>"]) + "\n"


def _bar(figure: Figure, case: Case, reach: float, y: int) -> list[str]:
    length, kind = _length(min(reach, MOST)), "reached" if reach >= 1 else "missed"
    return [
        _text(0, y, case.name),
        f'<rect class="{kind}" x="{LEFT}" y="{y - BAR + 5}" width="{length}" height="{BAR - 3}"/>',
        _text(WIDTH - RIGHT + 6, y, f"{ratio(case.ratio)} ({goal(figure, case)})"),
    ]


def _length(reach: float) -> int:
    return round((WIDTH - LEFT - RIGHT) * reach / MOST)


def _text(x: int, y: int, text: str, kind: str = "") -> str:
    named = f' class="{kind}"' if kind else ""
    return f'<text{named} x="{x}" y="{y}">{escape(text.replace("`", ""))}</text>'
