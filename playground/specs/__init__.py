"""Behaviour specs: reading them, scoring answers by them, and summing scores up.

Knows specs and texts; refuses to know models, runs and how answers are made.
"""

from playground.specs.constraints import read_constraint
from playground.specs.reading import parse_text, read_spec
from playground.specs.rules import is_json
from playground.specs.scoring import Score, no_answer, score
from playground.specs.spec import Assertion, Case, Constraint, Example, Phrase, Spec, SpecError
from playground.specs.spec_file import parse_assertion, parse_spec
from playground.specs.totals import Interval, Measure, change, totals, wilson, win_rate

__all__ = [
    "Assertion",
    "Case",
    "Constraint",
    "Example",
    "Interval",
    "Measure",
    "Phrase",
    "Score",
    "Spec",
    "SpecError",
    "change",
    "is_json",
    "no_answer",
    "parse_assertion",
    "parse_spec",
    "parse_text",
    "read_constraint",
    "read_spec",
    "score",
    "totals",
    "wilson",
    "win_rate",
]
