"""A report written down: JSON for programs, Markdown for a pull request, CSV for a table, HTML for people.

Knows the formats; what stands in them is the report's affair. Text of models and specs is text in each of them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal, get_args

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from playground.history.exports import table
from playground.reports.records import report_record
from playground.reports.report import Report

Format = Literal["json", "md", "html", "csv"]
FORMATS: tuple[Format, ...] = get_args(Format)
MAX_MARKDOWN_CASES, MAX_MARKDOWN_CHARS = 50, 200
SIDES = ("left", "right")


def written(report: Report, form: Format) -> str:
    """The report in a format."""
    return _WRITERS[form](report_record(report))


def summary(report: Report) -> str:
    """The totals in a few lines of plain text."""
    record = report_record(report)
    totals = record["totals"]
    lines = [f"{_passed(side)}  {side['model']}" for side in totals["sides"]]
    lines += [measure["reading"] for measure in totals["measures"] if measure["reading"]]
    if len(totals["sides"]) == 2:
        lines.append(", ".join(f"{number} {kind}" for kind, number in totals["changes"].items()))
    return "\n".join(lines)


def _json(record: dict[str, Any]) -> str:
    return json.dumps(record, ensure_ascii=False, indent=2) + "\n"


def _markdown(record: dict[str, Any]) -> str:
    totals = record["totals"]
    lines = [f"# {_plain(record['name'])}", ""]
    if record["state"] != "done":
        lines += [f"**{record['state']}**: {_plain(record['problem'] or 'not every case was answered')}", ""]
    lines += ["| model | passed | first token | total | tokens |", "|---|---|---|---|---|"]
    lines += [
        f"| {_plain(side['model'])} | {_passed(side)} | {_ms(side['first_token_ms'])} | {_ms(side['total_ms'])} "
        f"| {side['num_completion_tokens']:,} |"
        for side in totals["sides"]
    ]
    lines += ["", *(f"- {_plain(measure['reading'])}" for measure in totals["measures"] if measure["reading"])]
    lines += [f"- {_plain(one['text'])}: {_plain(one['reading'])}" for one in record["constraints"]]
    for kind, cases in _told_cases(record):
        lines += _markdown_cases(kind, cases, record["models"])
    return "\n".join(lines) + "\n"


def _told_cases(record: dict[str, Any]) -> Iterable[tuple[str, list[dict[str, Any]]]]:
    """The cases that a reader looks for: what changed between two models, or what one model failed."""
    if len(record["models"]) == 2:
        for kind in ("regressed", "improved"):
            yield kind, [case for case in record["cases"] if case["change"] == kind]
    else:
        yield "failed", [case for case in record["cases"] if case["answers"][0] and not case["answers"][0]["passed"]]


def _markdown_cases(kind: str, cases: list[dict[str, Any]], models: list[str]) -> Iterable[str]:
    if not cases:
        return []
    heads = ("#", "input", *map(_plain, models), "why")
    lines = ["", f"## {len(cases)} {kind}", "", f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    for case in cases[:MAX_MARKDOWN_CASES]:
        answers = [_plain(answer["content"]) for answer in case["answers"]]
        failures = [failure for answer in case["answers"] for failure in answer["failures"]]
        cells = (case["number"] + 1, _plain(case["input"]), *answers, _plain("; ".join(failures)))
        lines.append(f"| {' | '.join(map(str, cells))} |")
    if len(cases) > MAX_MARKDOWN_CASES:
        lines.append(f"\nand {len(cases) - MAX_MARKDOWN_CASES} more")
    return lines


def _plain(text: str) -> str:
    """Text that is nothing but text in a cell of Markdown: one line, cut, and no sign of it means anything."""
    line = " ".join(text.split())
    if len(line) > MAX_MARKDOWN_CHARS:
        line = line[: MAX_MARKDOWN_CHARS - 1] + "…"
    # As entities, which no renderer reads as marks; backslashes would not do within every one of them.
    return re.sub(r"[^\w\s.,;:?'“”…–-]|://|www|_", lambda found: "".join(f"&#{ord(c)};" for c in found.group()), line)


def _csv(record: dict[str, Any]) -> str:
    sides = SIDES[: len(record["models"])]
    scored = ("content", "passed", "failures", "exact", "fields", "f1", "latency_ms", "completion_tokens")
    columns = ("number", "input", "expected", *(f"{s}_{name}" for s in sides for name in scored), "change", "vote")
    return "".join(table(columns, (_csv_row(case, sides) for case in record["cases"])))


def _csv_row(case: dict[str, Any], sides: tuple[str, ...]) -> dict[str, Any]:
    row = {"number": case["number"], **{name: case[name] for name in ("input", "expected", "change", "vote")}}
    for side, answer in zip(sides, case["answers"], strict=True):
        told = answer or {}
        names = ("content", "passed", "exact", "fields", "f1", "latency_ms")
        row |= {f"{side}_{name}": told.get(name) for name in names}
        row[f"{side}_failures"] = "\n".join(told.get("failures", ()))
        row[f"{side}_completion_tokens"] = told.get("usage", {}).get("completion_tokens")
    return row


def _html(record: dict[str, Any]) -> str:
    loader = FileSystemLoader(Path(__file__).parent)
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    environment.filters |= {"ms": _ms, "percent": _percent}
    environment.globals |= {"passed": _passed, "place": _place}
    return environment.get_template("report.html").render(record)


def _passed(side: dict[str, Any]) -> str:
    share = side["num_passed"] / side["num_answers"] if side["num_answers"] else 0.0
    return f"{side['num_passed']} of {side['num_answers']} ({share:.1%})"


def _ms(milliseconds: float | None) -> str:
    return "–" if milliseconds is None else f"{milliseconds:,.0f} ms"


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{share:.1%}"


def _place(difference: float) -> float:
    """Where a difference of -1 to 1 stands on a scale of 200 units."""
    return round(100 + 100 * difference, 1)


_WRITERS: dict[Format, Callable[[dict[str, Any]], str]] = {"json": _json, "md": _markdown, "html": _html, "csv": _csv}
